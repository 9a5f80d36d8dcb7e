// memory.cpp - allocations, pinned host memory, copies and memsets.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "calls.h"

using namespace kf;

struct CUmemPoolHandle_st {
    int device;
    uint64_t release_threshold = 0;
};

namespace kf {
namespace {

constexpr int illegal_address = CUDA_ERROR_ILLEGAL_ADDRESS;

CUmemoryPool pool_of(int device) {
    static CUmemPoolHandle_st* pools[Heap::devices] = {new CUmemPoolHandle_st{0}, new CUmemPoolHandle_st{1}};
    return pools[device];
}

bool is_device(const World& world, uint64_t address) { return world.heap.find(address) != nullptr; }

bool is_pinned(const World& world, uint64_t address, uint64_t bytes) {
    auto after = world.host_ranges.upper_bound(address);
    if (after == world.host_ranges.begin()) return false;
    auto& [base, range] = *std::prev(after);
    return address + bytes <= base + range.bytes;
}

// Whether one live allocation holds the whole range.
bool is_mapped(const World& world, uint64_t address, uint64_t bytes) {
    const Allocation* a = world.heap.find(address);
    return a && !a->freed && address >= a->base && address + bytes <= a->base + a->bytes;
}

std::optional<Fault> check_mapped(World& world, const char* what, uint64_t address, uint64_t bytes) {
    if (is_mapped(world, address, bytes)) return std::nullopt;
    return Fault{illegal_address, text("%s of %lu bytes at %s", what, bytes, world.heap.describe(address).c_str())};
}

// Every word of the range must have been written by something that is known to come before.
std::optional<Fault> check_ordered(World& world, const char* what, uint64_t address, uint64_t bytes, uint32_t operation) {
    if (!world.settings.checks) return std::nullopt;
    uint32_t good = 0;
    for (uint64_t word = address & ~uint64_t(3); word < address + bytes; word += 4) {
        uint32_t writer = world.heap.shadow(word)->operation;
        if (writer == good || writer == 0) continue;
        if (!world.is_before(writer, operation))
            return Fault{CUDA_ERROR_LAUNCH_FAILED, text("missing event wait: %s of %s, which %s wrote; nothing orders it before %s", what, world.heap.describe(word).c_str(), world.describe(writer).c_str(), world.describe(operation).c_str())};
        good = writer;
    }
    return std::nullopt;
}

std::optional<Fault> check_written(World& world, uint64_t address, uint64_t bytes) {
    if (!world.settings.checks || world.allow_unwritten_copies) return std::nullopt;
    uint64_t first = world.heap.first_unwritten(address, bytes), end = address + bytes;
    if (first == end) return std::nullopt;
    uint64_t missing = 0;
    for (uint64_t at = first; at < end; at++) missing += world.heap.first_unwritten(at, 1) == at;
    return Fault{illegal_address, text("output not fully written: %lu of %lu bytes copied to the host hold no value, the first at %s", missing, bytes, world.heap.describe(first).c_str())};
}

// Copies the values and which of them are values at all.
void copy_within_device(World& world, uint64_t target, uint64_t source, uint64_t bytes, uint32_t operation) {
    std::memmove(reinterpret_cast<void*>(target), reinterpret_cast<void*>(source), bytes);
    if (world.heap.first_unwritten(source, bytes) == source + bytes) return world.heap.mark_written(target, bytes, operation);
    std::vector<bool> written(bytes);
    for (uint64_t i = 0; i < bytes; i++) written[i] = world.heap.first_unwritten(source + i, 1) != source + i;
    world.heap.mark_written(target, bytes, operation);
    for (uint64_t i = 0; i < bytes; i++)
        if (!written[i]) world.heap.shadow(target + i)->written &= ~(1u << ((target + i) & 3));
}

// A rectangle of bytes; a plain copy has one row.
struct Copy {
    uint64_t target, source, width, rows = 1, target_pitch = 0, source_pitch = 0;
    bool target_on_device, source_on_device;
};

std::optional<Fault> copy_row(World& world, uint64_t target, uint64_t source, const Copy& copy, uint32_t operation) {
    std::optional<Fault> fault;
    if (copy.source_on_device) {
        if ((fault = check_mapped(world, "read", source, copy.width))) return fault;
        if ((fault = check_ordered(world, "read", source, copy.width, operation))) return fault;
        if (!copy.target_on_device && (fault = check_written(world, source, copy.width))) return fault;
    }
    if (copy.target_on_device) {
        if ((fault = check_mapped(world, "write", target, copy.width))) return fault;
        if ((fault = check_ordered(world, "overwriting", target, copy.width, operation))) return fault;
    }
    if (copy.source_on_device && copy.target_on_device) {
        copy_within_device(world, target, source, copy.width, operation);
    } else {
        std::memcpy(reinterpret_cast<void*>(target), reinterpret_cast<const void*>(source), copy.width);
        if (copy.target_on_device) world.heap.mark_written(target, copy.width, operation);
    }
    return std::nullopt;
}

Task copy_task(World& world, const Copy& copy, std::shared_ptr<std::vector<uint8_t>> staged) {
    const char* direction = copy.source_on_device ? (copy.target_on_device ? "device to device" : "device to host") : copy.target_on_device ? "host to device" : "host to host";
    Task task{CU_GRAPH_NODE_TYPE_MEMCPY, text("copy %s", direction), nullptr};
    task.run = [&world, copy, staged](uint32_t operation) {
        std::optional<Fault> fault;
        for (uint64_t row = 0; row < copy.rows && !fault; row++) {
            uint64_t source = staged ? reinterpret_cast<uint64_t>(staged->data()) + row * copy.width : copy.source + row * copy.source_pitch;
            fault = copy_row(world, copy.target + row * copy.target_pitch, source, copy, operation);
        }
        return fault;
    };
    return task;
}

CUresult check_copy(World& world, const Copy& copy) {
    uint64_t last = copy.rows - 1;
    auto bad = [&](bool on_device, uint64_t address, uint64_t pitch) { return on_device ? !is_mapped(world, address, copy.width) || !is_mapped(world, address + last * pitch, copy.width) : address == 0; };
    if (copy.rows > 1 && (copy.source_pitch < copy.width || copy.target_pitch < copy.width)) return refuse(world, CUDA_ERROR_INVALID_VALUE, "copy: a pitch is below the width");
    if (bad(copy.source_on_device, copy.source, copy.source_pitch))
        return refuse(world, CUDA_ERROR_INVALID_VALUE, text("copy of %lu bytes from %s", copy.width, world.heap.describe(copy.source + last * copy.source_pitch).c_str()));
    if (bad(copy.target_on_device, copy.target, copy.target_pitch))
        return refuse(world, CUDA_ERROR_INVALID_VALUE, text("copy of %lu bytes to %s", copy.width, world.heap.describe(copy.target + last * copy.target_pitch).c_str()));
    return CUDA_SUCCESS;
}

// Pageable host memory is read when the call is made, and written before it returns; pinned memory when the copy runs.
CUresult copy_on(World& world, CUstream stream, const Copy& copy, bool synchronous) {
    if (copy.width == 0 || copy.rows == 0) return CUDA_SUCCESS;
    if (CUresult result = check_copy(world, copy)) return result;
    uint64_t source_bytes = copy.source_pitch * (copy.rows - 1) + copy.width, target_bytes = copy.target_pitch * (copy.rows - 1) + copy.width;
    std::shared_ptr<std::vector<uint8_t>> staged;
    if (!stream->capture && !copy.source_on_device && !is_pinned(world, copy.source, source_bytes)) {
        staged = std::make_shared<std::vector<uint8_t>>(copy.width * copy.rows);
        for (uint64_t row = 0; row < copy.rows; row++) std::memcpy(staged->data() + row * copy.width, reinterpret_cast<const void*>(copy.source + row * copy.source_pitch), copy.width);
    }
    if (CUresult result = world.submit(stream, copy_task(world, copy, staged))) return result;
    bool to_pageable = !copy.target_on_device && !is_pinned(world, copy.target, target_bytes);
    bool only_device = copy.source_on_device && copy.target_on_device;
    if (stream->capture || only_device || !(synchronous || to_pageable)) return CUDA_SUCCESS;
    world.wait(stream);
    return stream->context->failure;
}

CUresult copy_async(const Copy& copy, CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) { return copy_on(world, stream, copy, false); });
}

CUresult copy_now(const Copy& copy) {
    return on_stream(nullptr, [&](World& world, CUstream stream) {
        if (CUresult result = refuse_while_capturing(world, stream->context)) return result;
        return copy_on(world, stream, copy, true);
    });
}

uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

Copy to_device(CUdeviceptr target, const void* source, size_t bytes) { return {target, address_of(source), bytes, 1, 0, 0, true, false}; }
Copy to_host(void* target, CUdeviceptr source, size_t bytes) { return {address_of(target), source, bytes, 1, 0, 0, false, true}; }
Copy within(CUdeviceptr target, CUdeviceptr source, size_t bytes) { return {target, source, bytes, 1, 0, 0, true, true}; }

// The kind of memory is seen from the addresses.
Copy anywhere(CUdeviceptr target, CUdeviceptr source, size_t bytes) {
    World& world = World::get();
    return {target, source, bytes, 1, 0, 0, is_device(world, target), is_device(world, source)};
}

CUresult rectangle(const CUDA_MEMCPY2D* p, Copy& copy) {
    if (!p || p->srcMemoryType == CU_MEMORYTYPE_ARRAY || p->dstMemoryType == CU_MEMORYTYPE_ARRAY) return CUDA_ERROR_INVALID_VALUE;
    World& world = World::get();
    uint64_t source = p->srcMemoryType == CU_MEMORYTYPE_HOST ? address_of(p->srcHost) : p->srcDevice;
    uint64_t target = p->dstMemoryType == CU_MEMORYTYPE_HOST ? address_of(p->dstHost) : p->dstDevice;
    bool source_on_device = p->srcMemoryType == CU_MEMORYTYPE_DEVICE || (p->srcMemoryType == CU_MEMORYTYPE_UNIFIED && is_device(world, source));
    bool target_on_device = p->dstMemoryType == CU_MEMORYTYPE_DEVICE || (p->dstMemoryType == CU_MEMORYTYPE_UNIFIED && is_device(world, target));
    copy = {target + p->dstY * p->dstPitch + p->dstXInBytes, source + p->srcY * p->srcPitch + p->srcXInBytes, p->WidthInBytes, p->Height, p->dstPitch, p->srcPitch, target_on_device, source_on_device};
    return CUDA_SUCCESS;
}

template <class T>
CUresult fill(CUdeviceptr target, T value, size_t count, CUstream handle, bool synchronous) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (synchronous)
            if (CUresult result = refuse_while_capturing(world, stream->context)) return result;
        uint64_t bytes = count * sizeof(T);
        if (bytes == 0) return CUDA_SUCCESS;
        if (target % sizeof(T) || !is_mapped(world, target, bytes)) return refuse(world, CUDA_ERROR_INVALID_VALUE, text("memset of %lu bytes at %s", bytes, world.heap.describe(target).c_str()));
        Task task{CU_GRAPH_NODE_TYPE_MEMSET, "memset", nullptr};
        task.run = [&world, target, value, count, bytes](uint32_t operation) {
            std::optional<Fault> fault = check_mapped(world, "memset", target, bytes);
            if (!fault) fault = check_ordered(world, "overwriting", target, bytes, operation);
            if (fault) return fault;
            std::fill_n(reinterpret_cast<T*>(target), count, value);
            world.heap.mark_written(target, bytes, operation);
            return fault;
        };
        return world.submit(stream, std::move(task));
    });
}

CUresult allocate(World& world, CUcontext context, CUdeviceptr* address, size_t bytes, const char* label) {
    if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    uint64_t base = world.heap.allocate(bytes, context->device->ordinal, label);
    if (!base) {
        world.wait_all();  // frees that are queued may make room
        base = world.heap.allocate(bytes, context->device->ordinal, label);
    }
    if (!base) return refuse(world, CUDA_ERROR_OUT_OF_MEMORY, text("%zu bytes asked for, %lu of %lu are in use", bytes, world.heap.live_bytes(context->device->ordinal), Heap::device_bytes));
    world.device_ranges[base] = {context, false};
    *address = base;
    return CUDA_SUCCESS;
}

CUresult allocate_async(CUdeviceptr* address, size_t bytes, int device, CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (stream->capture) return refuse(world, CUDA_ERROR_NOT_SUPPORTED, "allocation inside a capture");
        if (device >= 0 && device != stream->context->device->ordinal) return CUDA_ERROR_NOT_SUPPORTED;
        return allocate(world, stream->context, address, bytes, "cuMemAllocAsync");
    });
}

CUresult allocate_host(void** pointer, size_t bytes, unsigned) {
    return in_context([&](World& world, CUcontext context) {
        if (!pointer || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
        void* memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
        if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
        std::memset(memory, 0xFF, bytes);
        world.host_ranges[address_of(memory)] = {bytes, false, context};
        *pointer = memory;
        return CUDA_SUCCESS;
    });
}

// Pending copies may still use the memory, so they run first.
CUresult forget_host(void* pointer, bool registered, CUresult unknown) {
    return in_any_context([&](World& world) {
        auto found = world.host_ranges.find(address_of(pointer));
        if (found == world.host_ranges.end() || found->second.registered != registered) return unknown;
        world.wait_all();
        world.host_ranges.erase(found);
        if (!registered) std::free(pointer);
        return CUDA_SUCCESS;
    });
}

}  // namespace
}  // namespace kf

// Allocation

KF_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    return in_context([&](World& world, CUcontext context) {
        if (CUresult result = refuse_while_capturing(world, context)) return result;
        return allocate(world, context, address, bytes, "cuMemAlloc");
    });
}

// Waits for everything, as the driver does.
KF_EXPORT CUresult cuMemFree_v2(CUdeviceptr address) {
    return in_any_context([&](World& world) {
        if (!current_context()) return CUDA_ERROR_INVALID_CONTEXT;
        if (address == 0) return CUDA_SUCCESS;
        auto found = world.device_ranges.find(address);
        if (found == world.device_ranges.end() || found->second.free_queued) return refuse(world, CUDA_ERROR_INVALID_VALUE, "cuMemFree of " + world.heap.describe(address));
        if (CUresult result = refuse_while_capturing(world, current_context())) return result;
        world.wait_all();
        world.device_ranges.erase(address);
        world.heap.release(address);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) { return allocate_async(address, bytes, -1, stream); }

KF_EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return pool ? allocate_async(address, bytes, pool->device, stream) : CUDA_ERROR_INVALID_VALUE;
}

KF_EXPORT CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        auto found = world.device_ranges.find(address);
        if (found == world.device_ranges.end() || found->second.free_queued) return refuse(world, CUDA_ERROR_INVALID_VALUE, "cuMemFreeAsync of " + world.heap.describe(address));
        if (stream->capture) return refuse(world, CUDA_ERROR_NOT_SUPPORTED, "free inside a capture");
        found->second.free_queued = true;
        Task task{CU_GRAPH_NODE_TYPE_EMPTY, "free", nullptr};
        task.run = [&world, address](uint32_t) -> std::optional<Fault> {
            if (world.device_ranges.erase(address)) world.heap.release(address);
            return std::nullopt;
        };
        return world.submit(stream, std::move(task));
    });
}

KF_EXPORT CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
    if (!pool || device < 0 || device >= Heap::devices) return CUDA_ERROR_INVALID_VALUE;
    *pool = pool_of(device);
    return CUDA_SUCCESS;
}

KF_EXPORT CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }

KF_EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
    if (!pool || !value) return CUDA_ERROR_INVALID_VALUE;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) pool->release_threshold = *static_cast<uint64_t*>(value);
    return CUDA_SUCCESS;
}

KF_EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
    if (!pool || !value || attribute != CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) return CUDA_ERROR_INVALID_VALUE;
    *static_cast<uint64_t*>(value) = pool->release_threshold;
    return CUDA_SUCCESS;
}

KF_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) { return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }

KF_EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
    return in_context([&](World& world, CUcontext context) {
        if (free) *free = Heap::device_bytes - world.heap.live_bytes(context->device->ordinal);
        if (total) *total = Heap::device_bytes;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    return in_context([&](World& world, CUcontext) {
        if (!is_mapped(world, address, 1)) return CUDA_ERROR_NOT_FOUND;
        const Allocation* a = world.heap.find(address);
        if (base) *base = a->base;
        if (bytes) *bytes = a->bytes;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr address) {
    return in_library([&](World& world) {
        bool device = is_mapped(world, address, 1), pinned = is_pinned(world, address, 1);
        if (!data || (!device && !pinned)) return CUDA_ERROR_INVALID_VALUE;
        const Allocation* a = world.heap.find(address);
        switch (attribute) {
            case CU_POINTER_ATTRIBUTE_CONTEXT: {
                auto range = device ? world.device_ranges.find(a->base) : world.device_ranges.end();
                *static_cast<CUcontext*>(data) = range != world.device_ranges.end() ? range->second.context : current_context();
                return CUDA_SUCCESS;
            }
            case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *static_cast<unsigned*>(data) = device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST; return CUDA_SUCCESS;
            case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
                if (!device) return CUDA_ERROR_INVALID_VALUE;
                *static_cast<CUdeviceptr*>(data) = address;
                return CUDA_SUCCESS;
            case CU_POINTER_ATTRIBUTE_HOST_POINTER:
                if (device) return CUDA_ERROR_INVALID_VALUE;
                *static_cast<CUdeviceptr*>(data) = address;
                return CUDA_SUCCESS;
            case CU_POINTER_ATTRIBUTE_IS_MANAGED: *static_cast<bool*>(data) = false; return CUDA_SUCCESS;
            case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *static_cast<int*>(data) = device ? a->device : 0; return CUDA_SUCCESS;
            case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
                if (!device) return CUDA_ERROR_INVALID_VALUE;
                *static_cast<CUdeviceptr*>(data) = a->base;
                return CUDA_SUCCESS;
            case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
                if (!device) return CUDA_ERROR_INVALID_VALUE;
                *static_cast<size_t*>(data) = a->bytes;
                return CUDA_SUCCESS;
            default: return CUDA_ERROR_INVALID_VALUE;
        }
    });
}

// Host memory

KF_EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) { return allocate_host(pointer, bytes, 0); }
KF_EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned int flags) { return allocate_host(pointer, bytes, flags); }
KF_EXPORT CUresult cuMemFreeHost(void* pointer) { return forget_host(pointer, false, CUDA_ERROR_INVALID_VALUE); }
KF_EXPORT CUresult cuMemHostUnregister(void* pointer) { return forget_host(pointer, true, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED); }

KF_EXPORT CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned int) {
    return in_context([&](World& world, CUcontext context) {
        if (!pointer || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
        if (is_pinned(world, address_of(pointer), 1)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
        world.host_ranges[address_of(pointer)] = {bytes, true, context};
        return CUDA_SUCCESS;
    });
}

// Kernels of the emulated devices see no host memory.
KF_EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr*, void*, unsigned int) {
    return in_context([](World&, CUcontext) { return CUDA_ERROR_NOT_SUPPORTED; });
}

// Copies

KF_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr target, const void* source, size_t bytes) { return copy_now(to_device(target, source, bytes)); }
KF_EXPORT CUresult cuMemcpyDtoH_v2(void* target, CUdeviceptr source, size_t bytes) { return copy_now(to_host(target, source, bytes)); }
KF_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes) { return copy_now(within(target, source, bytes)); }
KF_EXPORT CUresult cuMemcpy(CUdeviceptr target, CUdeviceptr source, size_t bytes) { return copy_now(anywhere(target, source, bytes)); }
KF_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void* source, size_t bytes, CUstream stream) { return copy_async(to_device(target, source, bytes), stream); }
KF_EXPORT CUresult cuMemcpyDtoHAsync_v2(void* target, CUdeviceptr source, size_t bytes, CUstream stream) { return copy_async(to_host(target, source, bytes), stream); }
KF_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream) { return copy_async(within(target, source, bytes), stream); }
KF_EXPORT CUresult cuMemcpyAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream) { return copy_async(anywhere(target, source, bytes), stream); }
KF_EXPORT CUresult cuMemcpyPeer(CUdeviceptr target, CUcontext, CUdeviceptr source, CUcontext, size_t bytes) { return copy_now(within(target, source, bytes)); }
KF_EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr target, CUcontext, CUdeviceptr source, CUcontext, size_t bytes, CUstream stream) { return copy_async(within(target, source, bytes), stream); }

KF_EXPORT CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* parameters) {
    Copy copy{};
    CUresult result = rectangle(parameters, copy);
    return result ? result : copy_now(copy);
}

KF_EXPORT CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* parameters) { return cuMemcpy2D_v2(parameters); }

KF_EXPORT CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* parameters, CUstream stream) {
    Copy copy{};
    CUresult result = rectangle(parameters, copy);
    return result ? result : copy_async(copy, stream);
}

// Memsets

KF_EXPORT CUresult cuMemsetD8_v2(CUdeviceptr target, unsigned char value, size_t count) { return fill<uint8_t>(target, value, count, nullptr, true); }
KF_EXPORT CUresult cuMemsetD16_v2(CUdeviceptr target, unsigned short value, size_t count) { return fill<uint16_t>(target, value, count, nullptr, true); }
KF_EXPORT CUresult cuMemsetD32_v2(CUdeviceptr target, unsigned int value, size_t count) { return fill<uint32_t>(target, value, count, nullptr, true); }
KF_EXPORT CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream stream) { return fill<uint8_t>(target, value, count, stream, false); }
KF_EXPORT CUresult cuMemsetD16Async(CUdeviceptr target, unsigned short value, size_t count, CUstream stream) { return fill<uint16_t>(target, value, count, stream, false); }
KF_EXPORT CUresult cuMemsetD32Async(CUdeviceptr target, unsigned int value, size_t count, CUstream stream) { return fill<uint32_t>(target, value, count, stream, false); }
