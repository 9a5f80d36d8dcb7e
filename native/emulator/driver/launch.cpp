// launch.cpp - kernel launches: what the driver checks before it queues one.
#include <cstring>

#include "calls.h"

using namespace kf;

namespace kf {
namespace {

std::string shape_text(const Dim3& d) { return text("(%u, %u, %u)", d.x, d.y, d.z); }

// Empty when the shape fits kernel and device; the result then is success.
CUresult check_shape(const CUfunc_st& function, const LaunchShape& shape, std::string& why) {
    const KernelInfo& info = *function.info;
    const auto& [grid, block, dynamic_bytes] = shape;
    uint64_t threads = block.count(), bound = info.max_threads.x ? info.max_threads.count() : 1024;
    if (grid.count() == 0 || threads == 0) {
        why = "grid " + shape_text(grid) + " and block " + shape_text(block) + " must not have a zero";
    } else if (grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535) {
        why = "grid " + shape_text(grid) + " is above (2147483647, 65535, 65535)";
    } else if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024) {
        why = "block " + shape_text(block) + " is above (1024, 1024, 64) or 1024 threads";
    } else if (info.required_threads.x && (block.x != info.required_threads.x || block.y != info.required_threads.y || block.z != info.required_threads.z)) {
        why = "block " + shape_text(block) + ", the kernel requires " + shape_text(info.required_threads);
    } else if (int64_t(dynamic_bytes) > function.max_dynamic_shared) {
        why = text("%u bytes of dynamic shared memory, %d are allowed (raise CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)", dynamic_bytes, function.max_dynamic_shared);
    } else if (info.static_shared_bytes + dynamic_bytes > opt_in_shared_bytes(function.module->context->device->architecture)) {
        why = text("%u bytes of static and %u of dynamic shared memory are more than the device has", info.static_shared_bytes, dynamic_bytes);
    } else if (threads > bound) {
        why = text("%lu threads in a block, the kernel is bound to %lu", threads, bound);
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    }
    return why.empty() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Arguments in one buffer, from an array of pointers or from the caller's own buffer.
CUresult copy_arguments(const KernelInfo& info, void** parameters, void** extra, std::vector<uint8_t>& bytes, std::string& why) {
    bytes.assign(info.parameter_bytes, 0);
    if (parameters && extra) {
        why = "kernelParams and extra are both given";
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (extra) {
        const void* buffer = nullptr;
        size_t size = 0;
        for (; extra[0]; extra += 2) {
            auto key = reinterpret_cast<uintptr_t>(extra[0]);
            if (key == 1) buffer = extra[1];
            if (key == 2) size = *static_cast<const size_t*>(extra[1]);
        }
        if (size != info.parameter_bytes || (size && !buffer)) {
            why = text("an argument buffer of %zu bytes, the kernel takes %u", size, info.parameter_bytes);
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (size) std::memcpy(bytes.data(), buffer, size);
        return CUDA_SUCCESS;
    }
    for (size_t i = 0; i < info.parameters.size(); i++) {
        if (!parameters || !parameters[i]) {
            why = text("argument %zu of %zu is missing", i, info.parameters.size());
            return CUDA_ERROR_INVALID_VALUE;
        }
        std::memcpy(bytes.data() + info.parameters[i].offset, parameters[i], info.parameters[i].size);
    }
    return CUDA_SUCCESS;
}

CUresult launch(CUfunction function, const LaunchShape& shape, CUstream handle, void** parameters, void** extra, bool cooperative) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        Task task;
        if (CUresult result = prepare_launch(world, function, shape, parameters, extra, task)) return result;
        if (function->module->context != stream->context) return refuse(world, CUDA_ERROR_INVALID_HANDLE, text("%s belongs to another context than its stream", task.label.c_str()));
        if (cooperative && shape.grid.count() > 64) return refuse(world, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, text("%s: %lu blocks cannot be resident together", task.label.c_str(), shape.grid.count()));
        return world.submit(stream, std::move(task));
    });
}

}  // namespace

CUresult prepare_launch(World& world, CUfunction function, const LaunchShape& shape, void** parameters, void** extra, Task& task) {
    if (!function || !function->module || !world.modules.has(function->module)) return CUDA_ERROR_INVALID_HANDLE;
    const KernelInfo& info = *function->info;
    std::string why;
    std::vector<uint8_t> bytes;
    CUresult result = check_shape(*function, shape, why);
    if (result == CUDA_SUCCESS) result = copy_arguments(info, parameters, extra, bytes, why);
    if (result != CUDA_SUCCESS) return refuse(world, result, "kernel " + info.name + ": " + why);

    task.type = CU_GRAPH_NODE_TYPE_KERNEL;
    task.label = "kernel " + info.name;
    task.function = function;
    task.launch = {function->module->module.get(), &info, shape.grid, shape.block, shape.dynamic_shared_bytes, std::move(bytes), function->module->context->device->architecture};
    return CUDA_SUCCESS;
}

CUresult check_graph_kernel(World& world, const CUDA_KERNEL_NODE_PARAMS& p, Task& task) {
    return prepare_launch(world, p.func, {{p.gridDimX, p.gridDimY, p.gridDimZ}, {p.blockDimX, p.blockDimY, p.blockDimZ}, p.sharedMemBytes}, p.kernelParams, p.extra, task);
}

}  // namespace kf

KF_EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y, unsigned int block_z,
                                  unsigned int dynamic_bytes, CUstream stream, void** parameters, void** extra) {
    return launch(function, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, dynamic_bytes}, stream, parameters, extra, false);
}

KF_EXPORT CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y, unsigned int block_z,
                                             unsigned int dynamic_bytes, CUstream stream, void** parameters) {
    return launch(function, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, dynamic_bytes}, stream, parameters, nullptr, true);
}

// Of the attributes, a cluster of more than one block is refused; the others are hints here.
KF_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
    if (!config || (config->numAttrs && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const auto& cluster = config->attrs[i].value.clusterDim;
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION && uint64_t(cluster.x) * cluster.y * cluster.z != 1) return CUDA_ERROR_NOT_SUPPORTED;
    }
    return launch(function, {{config->gridDimX, config->gridDimY, config->gridDimZ}, {config->blockDimX, config->blockDimY, config->blockDimZ}, config->sharedMemBytes},
                  config->hStream, parameters, extra, false);
}
