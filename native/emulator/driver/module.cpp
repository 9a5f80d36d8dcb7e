// module.cpp - PTX modules, their functions and variables, occupancy.
#include <cstdlib>
#include <cstring>

#include "calls.h"

using namespace kf;

namespace kf {

uint32_t opt_in_shared_bytes(Architecture architecture) { return (architecture == Architecture::Sm90 ? 227 : 163) * 1024; }

void unload_module(World& world, CUmodule module) {
    for (const auto& [line, executed] : module->module->lines()) world.lines_of_unloaded_modules[line] |= executed;
    world.modules.remove(module);
    module->module.reset();
    for (auto& [name, function] : module->functions) function->module = nullptr;
}

namespace {

constexpr int newest_ptx = 84, multiprocessors = 2;
constexpr uint32_t default_shared_bytes = 48 * 1024;

struct PtxHeader { int version = 0; std::string target; };

// The word after a directive such as ".target", or nothing.
std::string word_after(const std::string& source, const char* directive) {
    size_t at = source.find(directive);
    if (at == std::string::npos) return {};
    at = source.find_first_not_of(" \t", at + std::strlen(directive));
    return at == std::string::npos ? std::string() : source.substr(at, source.find_first_of(", \t\r\n", at) - at);
}

PtxHeader read_header(const char* image) {
    std::string start(image, strnlen(image, 16384));
    PtxHeader header{0, word_after(start, ".target")};
    int major, minor;
    if (std::sscanf(word_after(start, ".version").c_str(), "%d.%d", &major, &minor) == 2) header.version = major * 10 + minor;
    return header;
}

// PTX runs on its own architecture and later ones; with the suffix "a" on its own only.
bool runs_on(const std::string& target, Architecture architecture) {
    int number = 0;
    char suffix = 0;
    if (std::sscanf(target.c_str(), "sm_%d%c", &number, &suffix) < 1) return false;
    return suffix == 'a' ? number == int(architecture) : number <= int(architecture);
}

// The caller's log buffers, found among the options.
struct Logs {
    char* buffers[2] = {};  // information, errors
    void** sizes[2] = {};

    Logs(unsigned count, const CUjit_option* options, void** values) {
        for (unsigned i = 0; i < count; i++) {
            int kind = options[i] == CU_JIT_ERROR_LOG_BUFFER || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
            if (options[i] == CU_JIT_INFO_LOG_BUFFER || options[i] == CU_JIT_ERROR_LOG_BUFFER) buffers[kind] = static_cast<char*>(values[i]);
            if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) sizes[kind] = &values[i];
        }
    }

    // The size option comes back as the bytes filled.
    void write(int kind, const std::string& log) {
        if (!sizes[kind]) return;
        size_t room = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(*sizes[kind])), filled = 0;
        if (buffers[kind] && room > 0) {
            filled = std::min(log.size(), room - 1);
            std::memcpy(buffers[kind], log.data(), filled);
            buffers[kind][filled] = 0;
        }
        *sizes[kind] = reinterpret_cast<void*>(filled);
    }
};

CUresult load(World& world, CUcontext context, const void* image, Logs& logs, CUmodule* module) {
    auto fail = [&](CUresult result, std::string log) {
        logs.write(0, "");
        logs.write(1, log);
        return refuse(world, result, std::move(log));
    };
    auto* ptx = static_cast<const char*>(image);
    if (!std::memcmp(ptx, "\x7f" "ELF", 4) || !std::memcmp(ptx, "\x50\xed\x55\xba", 4)) return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, "the emulator runs PTX text; the image is a cubin or fatbin");
    PtxHeader header = read_header(ptx);
    if (header.version == 0 || header.target.empty()) return fail(CUDA_ERROR_INVALID_IMAGE, "the image has no .version and .target: not PTX");
    if (header.version > newest_ptx)
        return fail(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, text("PTX version %d.%d; this driver reads up to %d.%d", header.version / 10, header.version % 10, newest_ptx / 10, newest_ptx % 10));
    Architecture architecture = context->device->architecture;
    if (!runs_on(header.target, architecture)) return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, text("PTX for %s on a device of sm_%d", header.target.c_str(), int(architecture)));

    std::string log;
    std::unique_ptr<Module> parsed = Module::parse(ptx, world.heap, context->device->ordinal, log);
    if (!parsed) return fail(CUDA_ERROR_INVALID_PTX, log);
    *module = world.modules.add(context, std::move(parsed));
    logs.write(0, log);
    logs.write(1, "");
    return CUDA_SUCCESS;
}

int dynamic_limit(const KernelInfo& info) { return int(default_shared_bytes - std::min(info.static_shared_bytes, default_shared_bytes)); }

uint64_t threads_of(const Dim3& dim) { return dim.x ? dim.count() : 0; }

int most_threads(const KernelInfo& info) {
    uint64_t bound = std::max(threads_of(info.max_threads), threads_of(info.required_threads));
    return bound ? int(std::min<uint64_t>(bound, 1024)) : 1024;
}

// Blocks that fit on a multiprocessor: by threads, registers and shared memory.
int resident_blocks(const CUfunc_st& function, int block_threads, size_t dynamic_bytes) {
    const KernelInfo& info = *function.info;
    if (block_threads <= 0 || block_threads > most_threads(info)) return 0;
    uint32_t opt_in = opt_in_shared_bytes(function.module->context->device->architecture);
    uint64_t warps = uint64_t(block_threads + 31) / 32, shared = info.static_shared_bytes + dynamic_bytes + 1024;
    uint64_t by_registers = 65536 / std::max<uint64_t>(1, uint64_t(std::min(info.registers, 255u)) * 32 * warps);
    return int(std::min({uint64_t(32), 64 / warps, by_registers, (opt_in + 1024) / shared}));
}

template <class Body>
CUresult on_function(CUfunction function, Body body) {
    return in_context([&](World& world, CUcontext) {
        if (!function || !function->module || !world.modules.has(function->module)) return CUDA_ERROR_INVALID_HANDLE;
        return body(world);
    });
}

}  // namespace
}  // namespace kf

KF_EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int count, CUjit_option* options, void** values) {
    return in_context([&](World& world, CUcontext context) {
        if (!module || !image || (count && (!options || !values))) return CUDA_ERROR_INVALID_VALUE;
        if (CUresult result = refuse_while_capturing(world, context)) return result;
        Logs logs(count, options, values);
        return load(world, context, image, logs, module);
    });
}

KF_EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }

KF_EXPORT CUresult cuModuleUnload(CUmodule module) {
    return in_any_context([&](World& world) {
        if (!world.modules.has(module)) return CUDA_ERROR_INVALID_HANDLE;
        world.wait_all();
        unload_module(world, module);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    return in_context([&](World& world, CUcontext) {
        if (!function || !name) return CUDA_ERROR_INVALID_VALUE;
        if (!world.modules.has(module)) return CUDA_ERROR_INVALID_HANDLE;
        const KernelInfo* info = module->module->find(name);
        if (!info) return refuse(world, CUDA_ERROR_NOT_FOUND, text("the module has no kernel '%s'", name));
        CUfunction& known = module->functions[name];
        if (!known) known = new CUfunc_st{module, info, dynamic_limit(*info)};
        *function = known;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule module, const char* name) {
    return in_context([&](World& world, CUcontext) {
        if (!name) return CUDA_ERROR_INVALID_VALUE;
        if (!world.modules.has(module)) return CUDA_ERROR_INVALID_HANDLE;
        uint64_t found_address, found_bytes;
        if (!module->module->variable(name, found_address, found_bytes)) return refuse(world, CUDA_ERROR_NOT_FOUND, text("the module has no variable '%s'", name));
        if (address) *address = found_address;
        if (bytes) *bytes = found_bytes;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
    return on_function(function, [&](World&) {
        if (!value) return CUDA_ERROR_INVALID_VALUE;
        const KernelInfo& info = *function->info;
        const Module& module = *function->module->module;
        switch (attribute) {
            case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = most_threads(info); break;
            case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = int(info.static_shared_bytes); break;
            case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = int(info.local_bytes); break;
            case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = int(std::min(info.registers, 255u)); break;
            case CU_FUNC_ATTRIBUTE_PTX_VERSION: case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = std::atoi(module.target().c_str() + 3); break;
            case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function->max_dynamic_shared; break;
            case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = function->carveout; break;
            default:
                if (attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
                *value = 0;
        }
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    return on_function(function, [&](World& world) {
        uint32_t room = opt_in_shared_bytes(function->module->context->device->architecture) - function->info->static_shared_bytes;
        switch (attribute) {
            case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
                if (value < 0 || uint32_t(value) > room)
                    return refuse(world, CUDA_ERROR_INVALID_VALUE, text("%s: %d bytes of dynamic shared memory asked for, the device has %u", function->info->name.c_str(), value, room));
                function->max_dynamic_shared = value;
                return CUDA_SUCCESS;
            case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
                if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
                function->carveout = value;
                return CUDA_SUCCESS;
            case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: return CUDA_SUCCESS;
            default: return CUDA_ERROR_INVALID_VALUE;
        }
    });
}

KF_EXPORT CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache) {
    return on_function(function, [](World&) { return CUDA_SUCCESS; });
}

KF_EXPORT CUresult cuFuncGetModule(CUmodule* module, CUfunction function) {
    return on_function(function, [&](World&) {
        if (!module) return CUDA_ERROR_INVALID_VALUE;
        *module = function->module;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuFuncGetName(const char** name, CUfunction function) {
    return on_function(function, [&](World&) {
        if (!name) return CUDA_ERROR_INVALID_VALUE;
        *name = function->info->name.c_str();
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* size) {
    return on_function(function, [&](World&) {
        const auto& parameters = function->info->parameters;
        if (!offset || index >= parameters.size()) return CUDA_ERROR_INVALID_VALUE;
        *offset = parameters[index].offset;
        if (size) *size = parameters[index].size;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function, int block_threads, size_t dynamic_bytes, unsigned int) {
    return on_function(function, [&](World&) {
        if (!blocks || block_threads <= 0) return CUDA_ERROR_INVALID_VALUE;
        *blocks = resident_blocks(*function, block_threads, dynamic_bytes);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int block_threads, size_t dynamic_bytes) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_threads, dynamic_bytes, 0);
}

KF_EXPORT CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction function, CUoccupancyB2DSize dynamic_of, size_t dynamic_bytes, int limit, unsigned int) {
    return on_function(function, [&](World&) {
        if (!grid || !block || limit < 0) return CUDA_ERROR_INVALID_VALUE;
        int best = 0, most = std::min(most_threads(*function->info), limit ? limit : 1024);
        *grid = *block = 0;
        for (int threads = most; threads > 0; threads -= threads % 32 ? threads % 32 : 32) {
            int blocks = resident_blocks(*function, threads, dynamic_of ? dynamic_of(threads) : dynamic_bytes);
            if (blocks * threads <= best) continue;
            best = blocks * threads;
            *block = threads;
            *grid = blocks * multiprocessors;
        }
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction function, CUoccupancyB2DSize dynamic_of, size_t dynamic_bytes, int limit) {
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, dynamic_of, dynamic_bytes, limit, 0);
}
