// graph.cpp - stream capture, graphs, and their executable form.
#include <cstring>

#include "calls.h"

using namespace kf;

namespace kf {
namespace {

CUgraphNode add_node(CUgraph graph, Task task, std::vector<CUgraphNode> after) {
    graph->nodes.push_back(new CUgraphNode_st{graph, std::move(task), std::move(after)});
    return graph->nodes.back();
}

bool has_node(World& world, CUgraphNode node) { return node && world.graphs.has(node->graph) && std::ranges::count(node->graph->nodes, node); }

void end_capture(World& world, const std::shared_ptr<Capture>& capture) {
    capture->ended = true;
    for (CUstream stream : capture->streams) {
        stream->capture = nullptr;
        stream->frontier.clear();
    }
    std::erase(world.captures, capture);
}

// Nodes that nothing follows must be what the origin stream ends with; others belong to a stream that was not joined.
bool is_joined(const Capture& capture) {
    for (CUgraphNode node : capture.graph->nodes) {
        bool followed = std::ranges::any_of(capture.graph->nodes, [&](CUgraphNode other) { return std::ranges::count(other->after, node) > 0; });
        if (!followed && !std::ranges::count(capture.origin->frontier, node)) return false;
    }
    return true;
}

// Nodes that follow one another share a lane; each branch gets its own, so that branches are unordered.
void assign_lanes(World& world, CUgraphExec exec) {
    size_t lanes = 1;
    std::vector<bool> continued(exec->nodes.size());
    bool root_placed = false;
    for (auto& node : exec->nodes) {
        node.lane = SIZE_MAX;
        for (size_t before : node.after)
            if (!continued[before]) {
                continued[before] = true;
                node.lane = exec->nodes[before].lane;
                break;
            }
        if (node.after.empty() && !root_placed) {
            node.lane = 0;
            root_placed = true;
        }
        if (node.lane == SIZE_MAX) node.lane = lanes++;
    }
    exec->lanes.assign(1, nullptr);
    for (size_t i = 1; i < lanes; i++) {
        CUstream lane = new_stream(world, exec->context, CU_STREAM_NON_BLOCKING, 0);
        world.streams.remove(lane);  // not the user's to destroy
        exec->lanes.push_back(lane);
    }
}

CUresult instantiate(World& world, CUgraphExec* result, CUgraph graph) {
    if (!result || !world.graphs.has(graph)) return CUDA_ERROR_INVALID_VALUE;
    CUgraphExec exec = world.execs.add(graph->context);
    std::map<CUgraphNode, size_t> index;
    for (CUgraphNode node : graph->nodes) {
        std::vector<size_t> after;
        for (CUgraphNode before : node->after) after.push_back(index.at(before));
        index[node] = exec->nodes.size();
        exec->nodes.push_back({node, node->task, std::move(after), 0});
    }
    assign_lanes(world, exec);
    *result = exec;
    return CUDA_SUCCESS;
}

CUresult launch(World& world, CUgraphExec exec, CUstream stream) {
    for (const auto& node : exec->nodes)
        if (node.task.function && !node.task.function->module) return refuse(world, CUDA_ERROR_INVALID_HANDLE, "the graph has a kernel whose module was unloaded");
    CompletionPtr start = world.enqueue(stream, {});
    std::vector<CompletionPtr> done;
    for (const auto& node : exec->nodes) {
        std::vector<CompletionPtr> after{start};
        for (size_t before : node.after) after.push_back(done[before]);
        done.push_back(world.enqueue(node.lane ? exec->lanes[node.lane] : stream, node.task, std::move(after)));
    }
    world.enqueue(stream, {}, done);
    return CUDA_SUCCESS;
}

CUgraphExecUpdateResult compare(const CUgraphExec_st& exec, const CUgraph_st& graph, CUgraphNode& different) {
    different = nullptr;
    if (exec.nodes.size() != graph.nodes.size()) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    for (size_t i = 0; i < graph.nodes.size(); i++) {
        different = graph.nodes[i];
        if (different->task.type != exec.nodes[i].task.type) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        std::vector<size_t> after;
        for (CUgraphNode before : different->after) after.push_back(size_t(std::ranges::find(graph.nodes, before) - graph.nodes.begin()));
        if (after != exec.nodes[i].after) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    }
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

}  // namespace

CUresult record(CUstream stream, Task task) {
    if (stream->capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream->frontier = {add_node(stream->capture->graph, std::move(task), stream->frontier)};
    return CUDA_SUCCESS;
}

CUresult refuse_while_capturing(World& world, CUcontext context) {
    for (const auto& capture : world.captures) {
        bool mine = capture->thread == std::this_thread::get_id();
        bool forbids = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL || (capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && mine);
        if (!forbids || capture->origin->context != context) continue;
        capture->invalidated = true;
        return refuse(world, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a call that may wait, during a capture: the capture is lost");
    }
    return CUDA_SUCCESS;
}

}  // namespace kf

// Capture

KF_EXPORT CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
        if (stream->is_default()) return refuse(world, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot capture");
        if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
        auto capture = std::make_shared<Capture>();
        capture->id = world.take_stream_id();
        capture->graph = world.graphs.add(stream->context);
        capture->origin = stream;
        capture->mode = mode;
        capture->thread = std::this_thread::get_id();
        capture->streams = {stream};
        world.captures.push_back(capture);
        stream->capture = capture;
        stream->frontier.clear();
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (!graph) return CUDA_ERROR_INVALID_VALUE;
        *graph = nullptr;
        auto capture = stream->capture;
        if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
        if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
        if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
        CUresult result = capture->invalidated ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : is_joined(*capture) ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        end_capture(world, capture);
        if (result == CUDA_SUCCESS) *graph = capture->graph;
        else world.graphs.remove(capture->graph);
        return result;
    });
}

static CUstreamCaptureStatus status_of(CUstream stream) {
    if (!stream->capture) return CU_STREAM_CAPTURE_STATUS_NONE;
    return stream->capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

KF_EXPORT CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
    return on_stream(handle, [&](World&, CUstream stream) {
        if (!status) return CUDA_ERROR_INVALID_VALUE;
        *status = status_of(stream);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph, const CUgraphNode** dependencies, size_t* count) {
    return on_stream(handle, [&](World&, CUstream stream) {
        if (!status) return CUDA_ERROR_INVALID_VALUE;
        *status = status_of(stream);
        if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
        if (id) *id = stream->capture->id;
        if (graph) *graph = stream->capture->graph;
        if (dependencies) *dependencies = stream->frontier.data();
        if (count) *count = stream->frontier.size();
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
    if (!mode) return CUDA_ERROR_INVALID_VALUE;
    static thread_local CUstreamCaptureMode current = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::swap(*mode, current);
    return CUDA_SUCCESS;
}

// Graphs

KF_EXPORT CUresult cuGraphCreate(CUgraph* graph, unsigned int flags) {
    return in_context([&](World& world, CUcontext context) {
        if (!graph || flags != 0) return CUDA_ERROR_INVALID_VALUE;
        *graph = world.graphs.add(context);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphDestroy(CUgraph graph) {
    return in_any_context([&](World& world) {
        if (!world.graphs.has(graph)) return CUDA_ERROR_INVALID_VALUE;
        world.graphs.remove(graph);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode* node, CUgraph graph, const CUgraphNode* dependencies, size_t count, const CUDA_KERNEL_NODE_PARAMS* parameters) {
    return in_context([&](World& world, CUcontext) {
        if (!node || !parameters || !world.graphs.has(graph) || (count && !dependencies)) return CUDA_ERROR_INVALID_VALUE;
        std::vector<CUgraphNode> after(dependencies, dependencies + count);
        if (!std::ranges::all_of(after, [&](CUgraphNode n) { return has_node(world, n) && n->graph == graph; })) return CUDA_ERROR_INVALID_VALUE;
        Task task;
        if (CUresult result = check_graph_kernel(world, *parameters, task)) return result;
        *node = add_node(graph, std::move(task), std::move(after));
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
    return in_library([&](World& world) {
        if (!count || !world.graphs.has(graph)) return CUDA_ERROR_INVALID_VALUE;
        size_t room = *count;
        for (size_t i = 0; nodes && i < room; i++) nodes[i] = i < graph->nodes.size() ? graph->nodes[i] : nullptr;
        *count = nodes ? std::min(room, graph->nodes.size()) : graph->nodes.size();
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType* type) {
    return in_library([&](World& world) {
        if (!type || !has_node(world, node)) return CUDA_ERROR_INVALID_VALUE;
        *type = node->task.type;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS* parameters) {
    return in_library([&](World& world) {
        if (!parameters || !has_node(world, node) || !node->task.function) return CUDA_ERROR_INVALID_VALUE;
        LaunchRequest& l = node->task.launch;
        node->parameter_pointers.clear();
        for (const KernelParameter& p : l.kernel->parameters) node->parameter_pointers.push_back(l.parameters.data() + p.offset);
        *parameters = {node->task.function, l.grid.x, l.grid.y, l.grid.z, l.block.x, l.block.y, l.block.z, l.dynamic_shared_bytes, node->parameter_pointers.data(), nullptr, nullptr, node->graph->context};
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS* parameters) {
    return in_context([&](World& world, CUcontext) {
        if (!parameters || !has_node(world, node) || !node->task.function) return CUDA_ERROR_INVALID_VALUE;
        return check_graph_kernel(world, *parameters, node->task);
    });
}

// Executable graphs

KF_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long) {
    return in_context([&](World& world, CUcontext) { return instantiate(world, exec, graph); });
}

KF_EXPORT CUresult cuGraphInstantiateWithParams(CUgraphExec* exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
    if (!parameters) return CUDA_ERROR_INVALID_VALUE;
    parameters->hErrNode_out = nullptr;
    parameters->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    return cuGraphInstantiateWithFlags(exec, graph, parameters->flags);
}

KF_EXPORT CUresult cuGraphInstantiate_v2(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log, size_t log_bytes) {
    if (error_node) *error_node = nullptr;
    if (log && log_bytes) *log = 0;
    return cuGraphInstantiateWithFlags(exec, graph, 0);
}

KF_EXPORT CUresult cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log, size_t log_bytes) {
    return cuGraphInstantiate_v2(exec, graph, error_node, log, log_bytes);
}

KF_EXPORT CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (!world.execs.has(exec)) return CUDA_ERROR_INVALID_VALUE;
        if (stream->capture) return refuse(world, CUDA_ERROR_NOT_SUPPORTED, "a graph launched inside a capture");
        return launch(world, exec, stream);
    });
}

KF_EXPORT CUresult cuGraphUpload(CUgraphExec exec, CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream) { return world.execs.has(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; });
}

KF_EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo* info) {
    return in_context([&](World& world, CUcontext) {
        if (!info || !world.execs.has(exec) || !world.graphs.has(graph)) return CUDA_ERROR_INVALID_VALUE;
        CUgraphNode different;
        *info = {compare(*exec, *graph, different), nullptr, nullptr};
        if (info->result != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
            info->errorNode = different;
            return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
        }
        for (size_t i = 0; i < graph->nodes.size(); i++) exec->nodes[i].task = graph->nodes[i]->task;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS* parameters) {
    return in_context([&](World& world, CUcontext) {
        if (!parameters || !world.execs.has(exec)) return CUDA_ERROR_INVALID_VALUE;
        for (auto& own : exec->nodes)
            if (own.source == node && own.task.function) return check_graph_kernel(world, *parameters, own.task);
        return CUDA_ERROR_INVALID_VALUE;
    });
}

KF_EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec) {
    return in_any_context([&](World& world) {
        if (!world.execs.has(exec)) return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 1; i < exec->lanes.size(); i++) retire_stream(world, exec->lanes[i]);
        world.execs.remove(exec);
        return CUDA_SUCCESS;
    });
}
