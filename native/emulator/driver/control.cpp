// control.cpp - what tests ask of the emulator itself (kfemu_*), and finding entry points by name.
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>

#include "calls.h"

using namespace kf;

namespace kf {
namespace {

bool is_on(const std::string& value) { return value == "1" || value == "true" || value == "on"; }

bool read_number(const std::string& value, uint64_t& number) {
    char* end;
    number = std::strtoull(value.c_str(), &end, 0);
    return !value.empty() && *end == 0;
}

// Copies as much as fits, always with an end; returns the length of the whole.
int give(const std::string& value, char* buffer, int room) {
    if (buffer && room > 0) {
        size_t length = std::min(value.size(), size_t(room) - 1);
        std::memcpy(buffer, value.data(), length);
        buffer[length] = 0;
    }
    return int(value.size());
}

std::string json_of(const World& world, const Counters& c) {
    std::string json = text("{\"launches\":%lu,\"thread_instructions\":%lu,\"warp_instructions\":%lu,\"global_bytes_read\":%lu,\"global_bytes_written\":%lu,"
                            "\"global_sectors_read\":%lu,\"global_sectors_written\":%lu,\"shared_bytes_read\":%lu,\"shared_bytes_written\":%lu,\"shared_bank_conflicts\":%lu,"
                            "\"uncoalesced_accesses\":%lu,\"mma_instructions\":%lu,\"barriers\":%lu,\"atomics\":%lu,\"buffers\":[",
                            c.launches, c.thread_instructions, c.warp_instructions, c.global_bytes_read, c.global_bytes_written, c.global_sectors_read, c.global_sectors_written,
                            c.shared_bytes_read, c.shared_bytes_written, c.shared_bank_conflicts, c.uncoalesced_accesses, c.mma_instructions, c.barriers, c.atomics);
    const char* comma = "";
    for (const auto& [id, buffer] : c.buffers) {
        const Allocation* a = world.heap.by_id(id);
        json += text("%s{\"id\":%u,\"address\":%lu,\"bytes\":%lu,\"bytes_read\":%lu,\"bytes_written\":%lu}", comma, id, a ? a->base : 0, a ? a->bytes : 0, buffer.bytes_read, buffer.bytes_written);
        comma = ",";
    }
    json += "],\"opcodes\":{";
    comma = "";
    for (const auto& [opcode, count] : c.opcodes) {
        json += text("%s\"%s\":%lu", comma, opcode.c_str(), count);
        comma = ",";
    }
    return json + "}}";
}

}  // namespace

bool apply_setting(World& world, const std::string& key, const std::string& value) {
    Settings& s = world.settings;
    uint64_t number = 0;
    if (key == "order") {
        if (value == "fifo") s.order = Settings::Order::Fifo;
        else if (value == "reverse") s.order = Settings::Order::Reverse;
        else if (value == "random") s.order = Settings::Order::Random;
        else return false;
        return true;
    }
    if (key == "seed" || key == "threads" || key == "watchdog") {
        if (!read_number(value, number)) return false;
        if (key == "seed") world.set_seed(number);
        else if (key == "threads") s.threads = int(number);
        else world.watchdog = number;
        return true;
    }
    const std::pair<const char*, bool*> switches[] = {{"checks", &s.checks}, {"single_lanes", &s.single_lanes},
                                                      {"count", &s.count}, {"cover", &s.cover}, {"allow_unwritten_copies", &world.allow_unwritten_copies}};
    for (auto [name, target] : switches)
        if (key == name) {
            *target = is_on(value);
            return true;
        }
    return false;
}

}  // namespace kf

// 0, or 1 when key or value are not understood.
KF_EXPORT int kfemu_set(const char* key, const char* value) {
    World& world = World::get();
    std::lock_guard guard(world.lock);
    return key && value && apply_setting(world, key, value) ? 0 : 1;
}

// Why the last fault happened, or the last call was refused.
KF_EXPORT int kfemu_report(char* buffer, int room) {
    World& world = World::get();
    std::lock_guard guard(world.lock);
    return give(world.report, buffer, room);
}

// An object with an entry for each kernel that ran since the last reset.
KF_EXPORT int kfemu_counters_json(char* buffer, int room) {
    World& world = World::get();
    std::lock_guard guard(world.lock);
    std::string json = "{";
    for (const auto& [kernel, counters] : world.counters) json += text("%s\"%s\":%s", json.size() > 1 ? "," : "", kernel.c_str(), json_of(world, counters).c_str());
    return give(json + "}", buffer, room);
}

KF_EXPORT void kfemu_reset_counters() {
    World& world = World::get();
    std::lock_guard guard(world.lock);
    world.counters.clear();
}

// One line each: "file:line 1" when it was executed, else "file:line 0".
KF_EXPORT int kfemu_coverage(char* buffer, int room) {
    World& world = World::get();
    std::lock_guard guard(world.lock);
    std::map<std::string, bool> lines = world.lines_of_unloaded_modules;
    for (CUmodule module : world.modules.all())
        for (const auto& [line, executed] : module->module->lines()) lines[line] |= executed;
    std::string result;
    for (const auto& [line, executed] : lines) result += line + (executed ? " 1\n" : " 0\n");
    return give(result, buffer, room);
}

// How many of a kind are alive; -1 for an unknown kind.
KF_EXPORT int kfemu_live(const char* kind) {
    World& world = World::get();
    std::lock_guard guard(world.lock);
    const std::pair<const char*, size_t> counts[] = {
        {"allocations", world.device_ranges.size()}, {"streams", world.streams.count()}, {"events", world.events.count()}, {"modules", world.modules.count()},
        {"graphs", world.graphs.count()}, {"execs", world.execs.count()}, {"host", world.host_ranges.size()}, {"contexts", world.contexts.count()}};
    for (auto [name, count] : counts)
        if (kind && std::string(kind) == name) return int(count);
    return -1;
}

// The newest version of an entry point that the library has, as the driver answers.
KF_EXPORT CUresult cuGetProcAddress_v2(const char* symbol, void** function, int version, cuuint64_t, CUdriverProcAddressQueryResult* status) {
    if (!symbol || !function) return CUDA_ERROR_INVALID_VALUE;
    *function = nullptr;
    Dl_info self;
    dladdr(reinterpret_cast<void*>(&kfemu_live), &self);
    void* library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    for (const char* suffix : {"_v2", ""})
        if (library && !*function) *function = dlsym(library, (std::string(symbol) + suffix).c_str());
    if (library) dlclose(library);
    bool too_old = version < 4000;
    if (too_old) *function = nullptr;
    if (status) *status = *function ? CU_GET_PROC_ADDRESS_SUCCESS : too_old ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

KF_EXPORT CUresult cuGetProcAddress(const char* symbol, void** function, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}
