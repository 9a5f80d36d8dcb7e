// locate.cpp - checks of memory accesses: bounds, alignment, unwritten memory, races, other operations.
//
// Races are found whatever the schedule: each word of shared memory keeps its last writer and readers with the stamp of their last
// synchronisation, and each warp a clock per warp: accesses stamped below it happened before. See README.md.
#include <algorithm>

#include "memory.h"

namespace kf {
namespace {

constexpr int illegal_address = 700, misaligned_address = 716, launch_failed = 719;
constexpr uint32_t no_block = 0xffffff;  // in a Shadow: written by atomics

const char* verb(const Access& a) { return a.reads && a.writes ? "atomic access" : a.writes ? "write" : "read"; }

std::string sized(const Access& a) { return std::string(verb(a)) + " of " + std::to_string(a.bytes) + " bytes at "; }

// Bits of the bytes of one 4-byte word that an access touches.
uint32_t bytes_in_word(uint64_t address, uint32_t bytes) { return bytes >= 4 ? 15 : ((1u << bytes) - 1) << (address & 3); }

// ---- global memory

[[noreturn]] void outside(const Warp& w, int lane, uint64_t address, const Access& access) {
    w.block->fail(w, lane, illegal_address, sized(access) + w.block->launch.heap.describe(address));
}

// Allocation that holds the whole access of a lane.
const Allocation* owner(const Warp& w, int lane, uint64_t address, const Access& access) {
    const Allocation* a = w.block->launch.heap.find(address);
    if (!a || a->freed || address < a->base || address + access.bytes > a->base + a->bytes) outside(w, lane, address, access);
    return a;
}

void check_order(const Warp& w, int lane, uint64_t address, const Access& access, uint32_t earlier) {
    Block& block = *w.block;
    const Ordering* ordering = block.launch.request.ordering;
    if (!ordering || earlier == 0 || earlier == block.ordered_operation) return;
    if (!ordering->is_before(earlier, block.launch.request.operation))
        block.fail(w, lane, launch_failed, "missing event wait: " + sized(access) + block.launch.heap.describe(address) + ", which "
                   + ordering->describe(earlier) + " wrote; nothing orders it before " + ordering->describe(block.launch.request.operation));
    block.ordered_operation = earlier;
}

// The upper 4 bits of Shadow::block say which bytes the block wrote in this operation, the lower 24 which block.
void check_word(const Warp& w, int lane, uint64_t address, const Access& access, const Shadow& s, uint32_t need) {
    Block& block = *w.block;
    uint32_t operation = block.launch.request.operation, self = static_cast<uint32_t>(block.linear % no_block);
    auto report = [&](const std::string& what) {
        block.fail(w, lane, launch_failed, what + ": " + sized(access) + block.launch.heap.describe(address));
    };
    if (access.reads && (s.written & need) != need) report("read of unwritten memory");
    uint32_t other = s.block & no_block, other_bytes = s.block >> 24;
    if (s.operation != operation) return check_order(w, lane, address, access, s.operation);
    if (other == self || access.strong) return;
    if (access.writes && (other_bytes & need)) report("two blocks write one word, the other is block " + std::to_string(other));
    if (access.reads && !access.writes && (other_bytes & need) && !block.acquired) report("race: block " + std::to_string(other) + " of this launch wrote this word");
}

void mark_word(const Warp& w, const Access& access, Shadow& s, uint32_t need) {
    uint32_t operation = w.block->launch.request.operation;
    uint32_t self = access.strong ? no_block : static_cast<uint32_t>(w.block->linear % no_block);
    uint32_t bytes = access.strong ? 0 : s.operation == operation && (s.block & no_block) == self ? s.block >> 24 | need : need;
    s.operation = operation;
    s.block = (bytes << 24 | self) & 0xfffffff;
    s.written |= need;
}

void count_global(Warp& w, Mask mask, const uint64_t* address, const Access& access, uint32_t allocation) {
    Counters& c = w.block->tally.memory;
    uint64_t sectors[64];
    int n = 0;
    each(mask, [&](int l) {
        sectors[n++] = address[l] >> 5;
        if (address[l] >> 5 != (address[l] + access.bytes - 1) >> 5) sectors[n++] = (address[l] + access.bytes - 1) >> 5;
    });
    std::sort(sectors, sectors + n);
    uint64_t distinct = static_cast<uint64_t>(std::unique(sectors, sectors + n) - sectors);
    uint64_t bytes = static_cast<uint64_t>(__builtin_popcount(mask)) * access.bytes;
    if (access.reads) c.global_bytes_read += bytes, c.global_sectors_read += distinct, c.buffers[allocation].bytes_read += bytes;
    if (access.writes) c.global_bytes_written += bytes, c.global_sectors_written += distinct, c.buffers[allocation].bytes_written += bytes;
    c.uncoalesced_accesses += distinct > (bytes + 31) / 32;
}

void locate_global(Warp& w, Mask mask, const uint64_t* address, const Access& access, Pointers& pointers) {
    Block& block = *w.block;
    uint64_t low = ~0ull, high = 0, bits = 0;
    for (int l = 0; l < 32; ++l) {
        bool on = mask >> l & 1;
        uint64_t a = address[l];
        low = on && a < low ? a : low;
        high = on && a > high ? a : high;
        bits |= on ? a : 0;
        pointers.at[l] = reinterpret_cast<char*>(a);
    }
    const Allocation* allocation = block.launch.heap.find(low);
    if (!allocation || allocation->freed || low < allocation->base || high + access.bytes > allocation->base + allocation->bytes) {
        each(mask, [&](int l) { owner(w, l, address[l], access); });
        allocation = owner(w, __builtin_ctz(mask), address[__builtin_ctz(mask)], access);
    }
    if (bits & (access.bytes - 1)) each(mask, [&](int l) {
        if (address[l] & (access.bytes - 1))
            block.fail(w, l, misaligned_address, "misaligned " + sized(access) + block.launch.heap.describe(address[l]));
    });
    if (access.acquires) block.acquired = true;
    bool checks = block.launch.settings.checks;
    if (checks || access.writes) {
        uint32_t words = std::max(1u, access.bytes / 4);
        each(mask, [&](int l) {
            Shadow* s = block.launch.heap.shadow(address[l]);
            uint32_t need = bytes_in_word(address[l], access.bytes);
            for (uint32_t k = 0; k < words; ++k) {
                if (checks) check_word(w, l, address[l] + 4 * k, access, s[k], need);
                if (access.writes) mark_word(w, access, s[k], need);
            }
        });
    }
    if (block.launch.counting) count_global(w, mask, address, access, allocation->id);
}

// ---- shared memory

// A barrier of all threads says nothing of what the copy engine writes.
bool is_settled(const Block& block, const SharedWord& s, int half) { return s.write_stamp[half] < block.full_barrier_stamp && s.writer[half] != block.copy_engine(); }

bool is_ordered(const Warp& w, int lane, uint32_t thread, uint32_t stamp) {
    if (thread == w.block->copy_engine()) return stamp < w.clock.back();
    if (stamp < w.block->full_barrier_stamp) return true;
    uint32_t other = thread / 32;
    if (other != w.index) return stamp < w.clock[other];
    if (static_cast<int>(thread % 32) == lane || stamp < w.synchronised) return true;
    return !w.pair_synchronised.empty() && stamp < w.pair_synchronised[static_cast<uint32_t>(lane) * 32 + thread % 32];
}

[[noreturn]] void race(const Warp& w, int lane, uint32_t offset, const Access& access, const char* other, uint32_t thread, uint32_t at) {
    const Block& b = *w.block;
    b.fail(w, lane, launch_failed, "race in shared memory: " + sized(access) + "offset " + std::to_string(offset) + "; thread " + b.thread_name(thread) + " " + other + " it at "
           + b.launch.module.place(b.launch.code.places[at]) + " and no barrier lies between");
}

void check_shared_read(Warp& w, int lane, uint32_t offset, const Access& access, SharedWord& s, uint32_t need) {
    if (s.pending & need) {
        const Block& block = *w.block;
        uint32_t writer = s.writer[need & 3 ? 0 : 1];
        std::string who = writer == block.copy_engine() ? "the copy engine, asked at " + block.launch.module.place(block.launch.code.places[s.write_at]) + "," : "a cp.async of thread " + block.thread_name(writer);
        block.fail(w, lane, launch_failed, "read before the wait: " + sized(access) + "shared offset " + std::to_string(offset) + ", which " + who + " has yet to fill");
    }
    if ((s.written & need) != need) w.block->fail(w, lane, launch_failed, "read of unwritten memory: " + sized(access) + "shared offset " + std::to_string(offset));
    if (!(access.strong && s.write_strong) && !(is_settled(*w.block, s, 0) && is_settled(*w.block, s, 1)))
        for (int half = 0; half < 2; ++half)
            if ((s.write_bytes & need) >> (2 * half) & 3 && !is_ordered(w, lane, s.writer[half], s.write_stamp[half]))
                race(w, lane, offset, access, "wrote", s.writer[half], s.write_at);
}

void note_shared_read(Warp& w, int lane, const Access& access, SharedWord& s, uint32_t need) {
    uint32_t thread = w.thread(lane), stamp = w.block->stamp;
    if (s.reader != thread && s.read_bytes) {
        if (s.read_stamp < w.block->full_barrier_stamp) {
            s.older_readers = 0, s.older_bytes = 0;
        } else if (s.reader / 32 != w.index) {
            s.older_stamp = s.older_readers ? std::min(s.older_stamp, s.read_stamp) : s.read_stamp;
            s.older_readers |= 1u << (s.reader / 32);
            s.older_bytes |= s.read_bytes;
        }
        s.read_bytes = 0;
    }
    s.reader = static_cast<uint16_t>(thread);
    s.read_stamp = stamp;
    s.read_at = w.here();
    s.read_bytes |= need;
    s.read_strong = access.strong;
    s.read_by_warp = false;
}

void check_shared_write(Warp& w, int lane, uint32_t offset, const Access& access, SharedWord& s, uint32_t need, bool same_value) {
    for (int half = 0; half < 2; ++half) {
        if (!((s.write_bytes & need) >> (2 * half) & 3) || is_settled(*w.block, s, half) || (access.strong && s.write_strong)) continue;
        bool agrees = same_value && s.writer[half] / 32 == w.index && s.write_at == w.here();
        if (!agrees && !is_ordered(w, lane, s.writer[half], s.write_stamp[half])) race(w, lane, offset, access, "wrote", s.writer[half], s.write_at);
    }
    bool own_product = s.read_by_warp && s.reader / 32 == w.index;
    if ((s.read_bytes & need) && !own_product && !(access.strong && s.read_strong) && !is_ordered(w, lane, s.reader, s.read_stamp)) race(w, lane, offset, access, "read", s.reader, s.read_at);
    if ((s.older_bytes & need) && s.older_readers && s.older_stamp >= w.block->full_barrier_stamp && !access.strong)
        each(s.older_readers & ~(1u << w.index), [&](int other) {
            if (s.older_stamp >= w.clock[static_cast<size_t>(other)]) race(w, lane, offset, access, "(first of its warp) read", static_cast<uint32_t>(other) * 32, s.read_at);
        });
}

void note_shared_write(Warp& w, int lane, const Access& access, SharedWord& s, uint32_t need) {
    for (int half = 0; half < 2; ++half)
        if (need >> (2 * half) & 3) s.writer[half] = static_cast<uint16_t>(w.thread(lane)), s.write_stamp[half] = w.block->stamp;
    s.write_bytes |= need;
    s.write_at = w.here();
    s.write_strong = access.strong;
    s.written |= need;
}

void count_shared(Warp& w, Mask mask, const uint32_t* offset, const Access& access) {
    Counters& c = w.block->tally.memory;
    uint64_t bytes = static_cast<uint64_t>(__builtin_popcount(mask)) * access.bytes;
    if (access.reads) c.shared_bytes_read += bytes;
    if (access.writes) c.shared_bytes_written += bytes;
    // A wavefront serves 32 / (bytes / 4) lanes; lanes that touch other words of one bank need one more each.
    uint32_t words = std::max(1u, access.bytes / 4), lanes = 32 / words;
    for (uint32_t first = 0; first < 32; first += lanes) {
        std::vector<uint32_t> banks[32];
        size_t most = 1;
        for (uint32_t l = first; l < first + lanes; ++l) {
            if (!(mask >> l & 1)) continue;
            for (uint32_t k = 0; k < words; ++k) {
                uint32_t word = offset[l] / 4 + k;
                auto& bank = banks[word % 32];
                if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
                most = std::max(most, bank.size());
            }
        }
        c.shared_bank_conflicts += most - 1;
    }
}

void check_shared_bounds(const Warp& w, int lane, uint32_t offset, const Access& access) {
    const Launch& launch = w.block->launch;
    uint64_t end = static_cast<uint64_t>(offset) + access.bytes;
    bool in_gap = launch.code.shared_bytes && offset < launch.dynamic_base && end > launch.code.shared_bytes;
    if (end > launch.shared_bytes || in_gap)
        w.block->fail(w, lane, illegal_address, sized(access) + "shared offset " + std::to_string(static_cast<int32_t>(offset)) + ", outside the "
                      + std::to_string(launch.code.shared_bytes) + " static and " + std::to_string(launch.request.dynamic_shared_bytes) + " dynamic bytes of the block");
    if (offset & (access.bytes - 1)) w.block->fail(w, lane, misaligned_address, "misaligned " + sized(access) + "shared offset " + std::to_string(offset));
}

// One lane's words against their history, and into it.
void check_shared_lane(Warp& w, int lane, uint32_t offset, const Access& access, const char* value) {
    Block& block = *w.block;
    SharedWord* s = block.words + offset / 4;
    uint32_t need = bytes_in_word(offset, access.bytes), words = std::max(1u, access.bytes / 4), size = std::min(4u, access.bytes);
    for (uint32_t k = 0; k < words; ++k, ++s) {
        if (access.reads) check_shared_read(w, lane, offset + 4 * k, access, *s, need);
        if (access.writes) {
            bool same = value && std::memcmp(block.shared + offset + 4 * k, value + 4 * k, size) == 0;
            check_shared_write(w, lane, offset + 4 * k, access, *s, need, same);
            note_shared_write(w, lane, access, *s, need);
        }
        if (access.reads) note_shared_read(w, lane, access, *s, need);
    }
}

void locate_shared_lanes(Warp& w, Mask mask, const uint32_t* offset, const Access& access, Pointers& pointers) {
    const Launch& launch = w.block->launch;
    uint32_t high = 0, bits = 0;
    for (int l = 0; l < 32; ++l) {
        uint32_t on = mask >> l & 1 ? offset[l] : 0;
        high = on > high ? on : high;
        bits |= on;
        pointers.at[l] = w.block->shared + offset[l];
    }
    bool inside = static_cast<uint64_t>(high) + access.bytes <= (launch.code.shared_bytes ? launch.code.shared_bytes : launch.shared_bytes);
    if (!inside || (bits & (access.bytes - 1))) each(mask, [&](int l) { check_shared_bounds(w, l, offset[l], access); });
    if (launch.settings.checks) each(mask, [&](int l) {
        const char* value = access.values ? access.values + static_cast<size_t>(l) * access.bytes : nullptr;
        check_shared_lane(w, l, offset[l], access, value);
        if (value) std::memcpy(pointers.at[l], value, access.bytes);  // now, so that the next lane can compare
    });
    if (launch.counting) count_shared(w, mask, offset, access);
}

// ---- local memory, parameters, generic addresses

void locate_local(Warp& w, Mask mask, const uint64_t* address, const Access& access, Pointers& pointers) {
    uint32_t size = w.code->info.local_bytes;
    each(mask, [&](int l) {
        if (address[l] + access.bytes > size || address[l] > size) w.block->fail(w, l, illegal_address, sized(access) + "local offset " + std::to_string(static_cast<int64_t>(address[l])) + ", outside the " + std::to_string(size) + " local bytes of the thread");
        if (address[l] & (access.bytes - 1)) w.block->fail(w, l, misaligned_address, "misaligned " + sized(access) + "local offset " + std::to_string(address[l]));
        pointers.at[l] = w.block->local + static_cast<uint64_t>(w.thread(l)) * size + address[l];
    });
}

void locate_parameters(Warp& w, Mask mask, const uint64_t* address, const Access& access, Pointers& pointers) {
    const auto& parameters = w.block->launch.request.parameters;
    each(mask, [&](int l) {
        if (access.writes || address[l] + access.bytes > parameters.size())
            w.block->fail(w, l, illegal_address, sized(access) + "parameter offset " + std::to_string(address[l]) + ", of " + std::to_string(parameters.size()) + " bytes that can be read");
        pointers.at[l] = const_cast<char*>(reinterpret_cast<const char*>(parameters.data())) + address[l];
    });
}

void locate_generic(Warp& w, const uint64_t* address, const Access& access, Pointers& pointers) {
    Mask shared = 0, local = 0, parameters = 0;
    each(w.active, [&](int l) {
        uint64_t window = address[l] >> 56;
        if (window == shared_window >> 56) shared |= 1u << l;
        if (window == local_window >> 56) local |= 1u << l;
        if (window == parameter_window >> 56) parameters |= 1u << l;
    });
    if (Mask global = w.active & ~(shared | local | parameters)) locate_global(w, global, address, access, pointers);
    if (shared) {
        uint32_t offset[32];
        for (int l = 0; l < 32; ++l) offset[l] = static_cast<uint32_t>(address[l]);
        locate_shared_lanes(w, shared, offset, access, pointers);
    }
    uint64_t offset[32];
    for (int l = 0; l < 32; ++l) offset[l] = address[l] & ((1ull << 56) - 1);
    if (local) locate_local(w, local, offset, access, pointers);
    if (parameters) locate_parameters(w, parameters, offset, access, pointers);
}

}  // namespace

void locate(Warp& w, const Instruction& i, Window window, const Access& access, Pointers& pointers) {
    if (window == Window::Shared) {
        const uint32_t* base = w.in<uint32_t>(i.a);
        uint32_t offset[32], immediate = static_cast<uint32_t>(i.immediate);
        for (int l = 0; l < 32; ++l) offset[l] = base[l] + immediate;
        return locate_shared_lanes(w, w.active, offset, access, pointers);
    }
    const uint64_t* base = w.in<uint64_t>(i.a);
    uint64_t address[32];
    for (int l = 0; l < 32; ++l) address[l] = base[l] + static_cast<uint64_t>(i.immediate);
    if (window == Window::Global) locate_global(w, w.active, address, access, pointers);
    else if (window == Window::Local) locate_local(w, w.active, address, access, pointers);
    else locate_generic(w, address, access, pointers);
}

char* locate_shared(Warp& w, int lane, uint32_t offset, const Access& access) {
    check_shared_bounds(w, lane, offset, access);
    if (w.block->launch.settings.checks) check_shared_lane(w, lane, offset, access, nullptr);
    return w.block->shared + offset;
}

void count_shared_rows(Warp& w, Mask mask, const uint32_t* offset, const Access& access) {
    if (w.block->launch.counting) count_shared(w, mask, offset, access);
}

void synchronise_lanes(Warp& w, Mask lanes) {
    uint32_t stamp = ++w.block->stamp;
    if (lanes == w.live) {
        w.synchronised = stamp;
        return;
    }
    if (w.pair_synchronised.empty()) w.pair_synchronised.assign(32 * 32, 0);
    each(lanes, [&](int x) { each(lanes, [&](int y) { w.pair_synchronised[static_cast<size_t>(x * 32 + y)] = stamp; }); });
}

void claim_for_copy(Warp& w, int lane, uint32_t offset) {
    constexpr Access access{.bytes = 4, .writes = true};
    check_shared_bounds(w, lane, offset, access);
    if (!w.block->launch.settings.checks) return;
    SharedWord& s = w.block->words[offset / 4];
    check_shared_write(w, lane, offset, access, s, 15, false);
    s = {};
    s.writer[0] = s.writer[1] = static_cast<uint16_t>(w.block->copy_engine());
    s.write_stamp[0] = s.write_stamp[1] = w.block->stamp;
    s.write_at = w.here();
    s.write_bytes = s.pending = 15;
}

void read_for_copy(Warp& w, int lane, uint64_t address, uint32_t bytes) {
    Block& block = *w.block;
    const Allocation* allocation = owner(w, lane, address, {.bytes = bytes, .reads = true});
    if (block.launch.settings.checks)
        for (uint64_t word = address & ~uint64_t(3); word < address + bytes; word += 4) {
            Shadow s = *block.launch.heap.shadow(word);
            s.written = 15;
            check_word(w, lane, word, {.bytes = 4, .reads = true}, s, 15);
        }
    if (!block.launch.counting) return;
    Counters& c = block.tally.memory;
    c.global_bytes_read += bytes;
    c.global_sectors_read += ((address + bytes - 1) >> 5) - (address >> 5) + 1;
    c.buffers[allocation->id].bytes_read += bytes;
}

void begin_product_read(Warp& w, uint32_t offset) {
    constexpr Access access{.bytes = 16, .reads = true};
    check_shared_bounds(w, 0, offset, access);
    const Block& block = *w.block;
    if (!block.launch.settings.checks) return;
    for (uint32_t k = 0; k < 4; ++k) {
        SharedWord& s = w.block->words[offset / 4 + k];
        check_shared_read(w, 0, offset + 4 * k, access, s, 15);
        for (int half = 0; half < 2; ++half) {
            uint32_t writer = s.writer[half];
            if (writer != block.copy_engine() && s.write_stamp[half] >= block.warps[writer / 32].proxy_fence[writer % 32])
                block.fail(w, 0, launch_failed, "missing proxy fence: wgmma reads shared offset " + std::to_string(offset + 4 * k) + ", which thread " + block.thread_name(writer) + " wrote at "
                           + block.launch.module.place(block.launch.code.places[s.write_at]) + " without fence.proxy.async after it");
        }
    }
}

void end_product_read(Warp& w, uint32_t offset, uint32_t issued) {
    Block& block = *w.block;
    if (!block.launch.settings.checks) return;
    for (uint32_t k = 0; k < 4; ++k) {
        SharedWord& s = block.words[offset / 4 + k];
        if (s.pending || std::max(s.write_stamp[0], s.write_stamp[1]) >= issued)
            block.fail(w, 0, launch_failed, "race in shared memory: thread " + block.thread_name(s.writer[0]) + " overwrote offset " + std::to_string(offset + 4 * k) + " at "
                       + block.launch.module.place(block.launch.code.places[s.write_at]) + " before the wait for this wgmma, which reads it");
        note_shared_read(w, 0, {.bytes = 4, .reads = true}, s, 15);
        s.read_by_warp = true;
    }
}

void fence_proxy(Warp& w) {
    uint32_t stamp = ++w.block->stamp;
    each(w.active, [&](int l) { w.proxy_fence[l] = stamp; });
}

void publish(Warp& w, std::vector<uint32_t>& clock) {
    uint32_t stamp = ++w.block->stamp;
    clock.resize(w.clock.size());
    for (size_t k = 0; k < clock.size(); ++k) clock[k] = std::max(clock[k], w.clock[k]);
    clock[w.index] = stamp;
}

void learn(Warp& w, const std::vector<uint32_t>& clock) {
    for (size_t k = 0; k < clock.size(); ++k)
        if (k != w.index) w.clock[k] = std::max(w.clock[k], clock[k]);
}

void learn(Warp& w, const std::vector<uint32_t>& clock, int lane) {
    learn(w, clock);
    if (w.pair_synchronised.empty()) w.pair_synchronised.assign(32 * 32, 0);
    for (size_t other = 0; other < 32; ++other) {
        uint32_t& known = w.pair_synchronised[static_cast<size_t>(lane) * 32 + other];
        known = std::max(known, clock[w.index]);
    }
}

}  // namespace kf
