// context.cpp - the library itself, devices, primary contexts and others.
#include <cstring>

#include "calls.h"

using namespace kf;

namespace kf {

thread_local ContextStack context_stack;
thread_local bool inside_callback;

CUresult refuse(World& world, CUresult result, std::string why) {
    world.report = std::move(why);
    return result;
}

namespace {

constexpr int driver_version = 12040;

DeviceState* find_device(World& world, CUdevice device) {
    return device >= 0 && size_t(device) < world.devices.size() ? &world.devices[device] : nullptr;
}

// As an A100 and an H100 would answer, but with two multiprocessors; what is not listed is 0.
int attribute_of(const DeviceState& device, CUdevice_attribute attribute) {
    bool hopper = device.architecture == Architecture::Sm90;
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: case CU_DEVICE_ATTRIBUTE_MAX_PITCH: return 2147483647;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 49152;
        case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return 65536;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return 32;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return hopper ? 1980000 : 1410000;
        case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: return 512;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return 2;
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return hopper ? 2619000 : 1215000;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return 5120;
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return hopper ? 52428800 : 41943040;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 2048;
        case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 3;
        case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP: case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED: case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return 1;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return int(device.architecture) / 10;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return int(device.architecture) % 10;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return int(opt_in_shared_bytes(device.architecture)) + 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return int(opt_in_shared_bytes(device.architecture));
        case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: return 1024;
        default: return 0;
    }
}

CUcontext new_context(World& world, DeviceState& device, bool is_primary, unsigned flags) {
    CUcontext context = world.contexts.add(nullptr, &device, is_primary, flags);
    context->context = context;
    context->default_stream = new CUstream_st{context, CU_STREAM_DEFAULT, 0, 0, world.take_lane()};
    world.watch(context->default_stream);
    return context;
}

void destroy_context(World& world, CUcontext context) {
    empty_context(world, context);
    retire_stream(world, context->default_stream);
    world.contexts.remove(context);
}

CUresult push(CUcontext context) {
    if (context_stack.depth == int(std::size(context_stack.entries))) return CUDA_ERROR_OUT_OF_MEMORY;
    context_stack.entries[context_stack.depth++] = context;
    return CUDA_SUCCESS;
}

}  // namespace

void empty_context(World& world, CUcontext context) {
    world.wait_all();
    for (CUgraphExec exec : world.execs.of(context)) {
        for (size_t i = 1; i < exec->lanes.size(); i++) retire_stream(world, exec->lanes[i]);
        world.execs.remove(exec);
    }
    for (CUgraph graph : world.graphs.of(context)) world.graphs.remove(graph);
    for (CUevent event : world.events.of(context)) world.events.remove(event);
    for (CUstream stream : world.streams.of(context)) retire_stream(world, stream);
    for (auto& [thread, stream] : context->thread_streams) retire_stream(world, stream);
    context->thread_streams.clear();
    for (CUmodule module : world.modules.of(context)) unload_module(world, module);
    std::erase_if(world.captures, [&](const auto& capture) { return capture->origin->context == context; });
    std::erase_if(world.host_ranges, [&](const auto& entry) {
        bool mine = entry.second.context == context;
        if (mine && !entry.second.registered) std::free(reinterpret_cast<void*>(entry.first));
        return mine;
    });
    std::erase_if(world.device_ranges, [&](const auto& entry) { return entry.second.context == context && world.heap.release(entry.first); });
}

}  // namespace kf

KF_EXPORT CUresult cuInit(unsigned int flags) {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    try {
        World& world = World::get();
        std::lock_guard guard(world.lock);
        world.initialised = true;
        return CUDA_SUCCESS;
    } catch (const std::exception&) {  // no address space for device memory
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
}

KF_EXPORT CUresult cuDriverGetVersion(int* version) {
    if (!version) return CUDA_ERROR_INVALID_VALUE;
    *version = driver_version;
    return CUDA_SUCCESS;
}

// Devices

KF_EXPORT CUresult cuDeviceGetCount(int* count) {
    return in_library([&](World& world) {
        if (!count) return CUDA_ERROR_INVALID_VALUE;
        *count = int(world.devices.size());
        return CUDA_SUCCESS;
    });
}

// The body gets the device that the ordinal names.
template <class Body>
static CUresult on_device(CUdevice device, bool arguments, Body body) {
    return in_library([&](World& world) {
        DeviceState* state = find_device(world, device);
        if (!state) return CUDA_ERROR_INVALID_DEVICE;
        return arguments ? body(world, *state) : CUDA_ERROR_INVALID_VALUE;
    });
}

KF_EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    return on_device(ordinal, device, [&](World&, DeviceState& state) {
        *device = state.ordinal;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
    return on_device(device, name && length > 0, [&](World&, DeviceState& state) {
        std::snprintf(name, size_t(length), "%s", state.name);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
    return on_device(device, uuid, [&](World&, DeviceState& state) {
        std::snprintf(uuid->bytes, sizeof uuid->bytes, "kf-emulated-%d", state.ordinal);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid(uuid, device); }

KF_EXPORT CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
    return on_device(device, id && length > 0, [&](World&, DeviceState& state) {
        std::snprintf(id, size_t(length), "0000:%02X:00.0", state.ordinal);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    return on_device(device, bytes, [&](World&, DeviceState&) {
        *bytes = Heap::device_bytes;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    return on_device(device, value && attribute > 0 && attribute < CU_DEVICE_ATTRIBUTE_MAX, [&](World&, DeviceState& state) {
        *value = attribute_of(state, attribute);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device) {
    return on_device(device, major && minor, [&](World&, DeviceState& state) {
        *major = int(state.architecture) / 10;
        *minor = int(state.architecture) % 10;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
    return on_device(device, can, [&](World& world, DeviceState&) {
        *can = 0;
        return find_device(world, peer) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    });
}

// Primary contexts

KF_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    return on_device(device, context, [&](World& world, DeviceState& state) {
        if (state.retained++ == 0) state.primary = new_context(world, state, true, state.flags);
        *context = state.primary;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    return on_device(device, true, [&](World& world, DeviceState& state) {
        if (state.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
        if (--state.retained == 0) {
            destroy_context(world, state.primary);
            state.primary = nullptr;
        }
        return CUDA_SUCCESS;
    });
}

// What the context held is gone and so is its failure; handles to the context stay good.
KF_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    return on_device(device, true, [&](World& world, DeviceState& state) {
        if (!state.primary) return CUDA_SUCCESS;
        empty_context(world, state.primary);
        state.primary->failure = CUDA_SUCCESS;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
    return on_device(device, true, [&](World&, DeviceState& state) {
        state.flags = flags;
        if (state.primary) state.primary->flags = flags;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
    return on_device(device, flags && active, [&](World&, DeviceState& state) {
        *flags = state.flags;
        *active = state.primary != nullptr;
        return CUDA_SUCCESS;
    });
}

// Contexts

KF_EXPORT CUresult cuCtxCreate_v2(CUcontext* context, unsigned int flags, CUdevice device) {
    return on_device(device, context, [&](World& world, DeviceState& state) {
        *context = new_context(world, state, false, flags);
        return push(*context);
    });
}

KF_EXPORT CUresult cuCtxDestroy_v2(CUcontext context) {
    return in_library([&](World& world) {
        if (!world.contexts.has(context) || context->is_primary) return CUDA_ERROR_INVALID_CONTEXT;
        destroy_context(world, context);
        if (current_context() == context) context_stack.depth--;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxPushCurrent_v2(CUcontext context) {
    return in_library([&](World& world) { return world.contexts.has(context) ? push(context) : CUDA_ERROR_INVALID_CONTEXT; });
}

KF_EXPORT CUresult cuCtxPopCurrent_v2(CUcontext* context) {
    return in_library([&](World&) {
        if (!current_context()) return CUDA_ERROR_INVALID_CONTEXT;
        if (context) *context = current_context();
        context_stack.depth--;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
    return in_library([&](World& world) {
        if (context && !world.contexts.has(context)) return CUDA_ERROR_INVALID_CONTEXT;
        if (context_stack.depth) context_stack.depth--;
        return context ? push(context) : CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
    return in_library([&](World&) {
        if (!context) return CUDA_ERROR_INVALID_VALUE;
        *context = current_context();
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
    return in_library([&](World& world) {
        CUcontext context = current_context();
        if (!context || !world.contexts.has(context)) return CUDA_ERROR_INVALID_CONTEXT;
        if (!device) return CUDA_ERROR_INVALID_VALUE;
        *device = context->device->ordinal;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxGetFlags(unsigned int* flags) {
    return in_context([&](World&, CUcontext context) {
        if (!flags) return CUDA_ERROR_INVALID_VALUE;
        *flags = context->flags;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxGetApiVersion(CUcontext context, unsigned int* version) {
    return in_library([&](World& world) {
        if (!version || (context && !world.contexts.has(context))) return CUDA_ERROR_INVALID_CONTEXT;
        *version = 3020;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxSynchronize() {
    return in_context([&](World& world, CUcontext context) {
        if (CUresult result = refuse_while_capturing(world, context)) return result;
        world.wait_all();
        return context->failure;
    });
}

KF_EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    return in_context([&](World&, CUcontext) {
        if (least) *least = 0;
        if (greatest) *greatest = -5;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
    return in_context([&](World&, CUcontext context) {
        if (!value) return CUDA_ERROR_INVALID_VALUE;
        auto found = context->limits.find(limit);
        *value = found != context->limits.end() ? found->second : limit == CU_LIMIT_STACK_SIZE ? 1024 : limit == CU_LIMIT_PRINTF_FIFO_SIZE ? 1 << 20 : limit == CU_LIMIT_MALLOC_HEAP_SIZE ? 8 << 20 : 0;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
    return in_context([&](World&, CUcontext context) {
        if (limit < 0 || limit > CU_LIMIT_MALLOC_HEAP_SIZE) return CUDA_ERROR_UNSUPPORTED_LIMIT;
        context->limits[limit] = value;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuCtxSetCacheConfig(CUfunc_cache) {
    return in_context([](World&, CUcontext) { return CUDA_SUCCESS; });
}

KF_EXPORT CUresult cuProfilerStart() {
    return in_context([](World&, CUcontext) { return CUDA_SUCCESS; });
}

KF_EXPORT CUresult cuProfilerStop() {
    return in_context([](World&, CUcontext) { return CUDA_SUCCESS; });
}
