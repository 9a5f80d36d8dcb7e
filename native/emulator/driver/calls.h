// calls.h - how every exported function begins: take the lock, find the context, pass on its failure. And what the files of this folder share.
#pragma once

#include "world.h"

namespace kf {

// Contexts pushed by this thread. Plain data, so that a thread that ends runs none of our code.
struct ContextStack {
    CUcontext entries[32];
    int depth;
};
extern thread_local ContextStack context_stack;
extern thread_local bool inside_callback;  // host functions may not call the driver

inline CUcontext current_context() { return context_stack.depth ? context_stack.entries[context_stack.depth - 1] : nullptr; }

// The call needs the library only.
template <class Body>
CUresult in_library(Body body) {
    if (inside_callback) return CUDA_ERROR_NOT_PERMITTED;
    World& world = World::get();
    std::lock_guard guard(world.lock);
    return world.initialised ? body(world) : CUDA_ERROR_NOT_INITIALIZED;
}

// The call needs a context that is current and sound.
template <class Body>
CUresult in_context(Body body) {
    return in_library([&](World& world) {
        CUcontext context = current_context();
        if (!context) return CUDA_ERROR_INVALID_CONTEXT;
        if (!world.contexts.has(context)) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        return context->failure != CUDA_SUCCESS ? context->failure : body(world, context);
    });
}

CUstream find_stream(World& world, CUcontext context, CUstream handle);

// The call gives something back. It does so in a failed context too, and then returns the failure as every call does.
template <class Body>
CUresult in_any_context(Body body) {
    return in_library([&](World& world) {
        CUresult result = body(world);
        CUcontext context = current_context();
        return result == CUDA_SUCCESS && context && world.contexts.has(context) ? context->failure : result;
    });
}

// The call needs a stream of a sound context; null and the two special handles are understood.
template <class Body>
CUresult on_stream(CUstream handle, Body body) {
    return in_context([&](World& world, CUcontext context) {
        CUstream stream = find_stream(world, context, handle);
        return stream ? body(world, stream) : CUDA_ERROR_INVALID_HANDLE;
    });
}

// Notes for kfemu_report why a call was refused.
CUresult refuse(World& world, CUresult result, std::string why);

CUstream new_stream(World& world, CUcontext context, unsigned flags, int priority);
void retire_stream(World& world, CUstream stream);

// Adds a node for the task to the graph that the stream captures into.
CUresult record(CUstream stream, Task task);
// 900, and the capture is lost, when a capture forbids calls that may wait; success otherwise.
CUresult refuse_while_capturing(World& world, CUcontext context);
CUresult check_graph_kernel(World& world, const CUDA_KERNEL_NODE_PARAMS& parameters, Task& task);

// Checks a launch against the limits of kernel and device, and copies its arguments.
struct LaunchShape { Dim3 grid, block; uint32_t dynamic_shared_bytes; };
CUresult prepare_launch(World& world, CUfunction function, const LaunchShape& shape, void** parameters, void** extra, Task& task);
uint32_t opt_in_shared_bytes(Architecture architecture);

void unload_module(World& world, CUmodule module);
// Frees what the context holds; it can only be destroyed or made anew after that.
void empty_context(World& world, CUcontext context);

bool apply_setting(World& world, const std::string& key, const std::string& value);

}  // namespace kf
