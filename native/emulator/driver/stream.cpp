// stream.cpp - streams, events, host functions.
#include "calls.h"

using namespace kf;

namespace kf {

CUstream new_stream(World& world, CUcontext context, unsigned flags, int priority) {
    CUstream stream = world.streams.add(context, flags, priority, world.take_stream_id(), world.take_lane());
    world.watch(stream);
    return stream;
}

void retire_stream(World& world, CUstream stream) {
    if (stream->last) world.finish(stream->last);
    world.unwatch(stream);
    world.streams.remove(stream);
    world.give_lane(stream->lane);
}

CUstream find_stream(World& world, CUcontext context, CUstream handle) {
    auto number = reinterpret_cast<uintptr_t>(handle);
    if (number <= 1) return context->default_stream;
    if (number > 2) return world.streams.has(handle) && handle->context->failure == CUDA_SUCCESS ? handle : nullptr;
    CUstream& own = context->thread_streams[std::this_thread::get_id()];
    if (!own) {
        own = new_stream(world, context, CU_STREAM_DEFAULT, 0);
        world.streams.remove(own);  // not the user's to destroy
    }
    return own;
}

}  // namespace kf

KF_EXPORT CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned int flags, int priority) {
    return in_context([&](World& world, CUcontext context) {
        if (!stream || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
        *stream = new_stream(world, context, flags, priority);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamCreate(CUstream* stream, unsigned int flags) { return cuStreamCreateWithPriority(stream, flags, 0); }

KF_EXPORT CUresult cuStreamDestroy_v2(CUstream stream) {
    return in_any_context([&](World& world) {
        if (!world.streams.has(stream)) return CUDA_ERROR_INVALID_HANDLE;
        if (stream->capture) stream->capture->invalidated = true;
        retire_stream(world, stream);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamGetFlags(CUstream handle, unsigned int* flags) {
    return on_stream(handle, [&](World&, CUstream stream) {
        if (!flags) return CUDA_ERROR_INVALID_VALUE;
        *flags = stream->flags;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamGetPriority(CUstream handle, int* priority) {
    return on_stream(handle, [&](World&, CUstream stream) {
        if (!priority) return CUDA_ERROR_INVALID_VALUE;
        *priority = stream->priority;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamGetId(CUstream handle, unsigned long long* id) {
    return on_stream(handle, [&](World&, CUstream stream) {
        if (!id) return CUDA_ERROR_INVALID_VALUE;
        *id = stream->id;
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamGetCtx(CUstream handle, CUcontext* context) {
    return on_stream(handle, [&](World&, CUstream stream) {
        if (!context) return CUDA_ERROR_INVALID_VALUE;
        *context = stream->context;
        return CUDA_SUCCESS;
    });
}

// A capture cannot be waited for; trying loses it.
static CUresult lose_capture(World& world, CUstream stream, const char* call) {
    stream->capture->invalidated = true;
    return refuse(world, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, text("%s on stream %lu, which captures: the capture is lost", call, stream->id));
}

KF_EXPORT CUresult cuStreamSynchronize(CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (stream->capture) return lose_capture(world, stream, "cuStreamSynchronize");
        world.wait(stream);
        return stream->context->failure;
    });
}

// Each question lets one operation run, so that asking again and again comes to an end.
KF_EXPORT CUresult cuStreamQuery(CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (stream->capture) return lose_capture(world, stream, "cuStreamQuery");
        if (!stream->last) return CUDA_SUCCESS;
        if (!stream->last->done) {
            world.advance();
            return stream->context->failure ? stream->context->failure : CUDA_ERROR_NOT_READY;
        }
        world.host_saw(*stream->last);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (!world.events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
        if (event->capture) {
            if (event->capture->ended) return CUDA_ERROR_CAPTURED_EVENT;
            if (stream->capture && stream->capture != event->capture) return CUDA_ERROR_STREAM_CAPTURE_MERGE;
            if (stream->is_default()) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            if (!stream->capture) {
                stream->capture = event->capture;
                stream->capture->streams.push_back(stream);
            }
            for (CUgraphNode node : event->frontier)
                if (!std::ranges::count(stream->frontier, node)) stream->frontier.push_back(node);
            return CUDA_SUCCESS;
        }
        if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
        if (event->record) world.enqueue(stream, {}, {event->record});
        return CUDA_SUCCESS;
    });
}

// Host functions

static Task host_task(std::function<void()> body) {
    Task task{CU_GRAPH_NODE_TYPE_HOST, "host function", nullptr};
    task.run = [body](uint32_t) -> std::optional<Fault> {
        inside_callback = true;
        body();
        inside_callback = false;
        return std::nullopt;
    };
    return task;
}

KF_EXPORT CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* argument) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        return function ? world.submit(stream, host_task([=] { function(argument); })) : CUDA_ERROR_INVALID_VALUE;
    });
}

KF_EXPORT CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* argument, unsigned int flags) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (!callback || flags != 0) return CUDA_ERROR_INVALID_VALUE;
        if (stream->capture) return lose_capture(world, stream, "cuStreamAddCallback");
        return world.submit(stream, host_task([=] { callback(handle, CUDA_SUCCESS, argument); }));
    });
}

// Events

KF_EXPORT CUresult cuEventCreate(CUevent* event, unsigned int flags) {
    return in_context([&](World& world, CUcontext context) {
        if (!event || flags > 7) return CUDA_ERROR_INVALID_VALUE;
        *event = world.events.add(context, flags);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuEventDestroy_v2(CUevent event) {
    return in_any_context([&](World& world) {
        if (!world.events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
        event->record = nullptr;
        world.events.remove(event);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuEventRecord(CUevent event, CUstream handle) {
    return on_stream(handle, [&](World& world, CUstream stream) {
        if (!world.events.has(event) || event->context != stream->context) return CUDA_ERROR_INVALID_HANDLE;
        event->capture = stream->capture;
        event->frontier = stream->frontier;
        event->record = stream->capture ? nullptr : world.enqueue(stream, {});
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream handle, unsigned int) { return cuEventRecord(event, handle); }

template <class Body>
static CUresult on_event(CUevent event, Body body) {
    return in_context([&](World& world, CUcontext) {
        if (!world.events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
        if (event->capture) {
            event->capture->invalidated = true;
            return refuse(world, CUDA_ERROR_CAPTURED_EVENT, "the host waits for an event that was recorded in a capture: the capture is lost");
        }
        return body(world);
    });
}

KF_EXPORT CUresult cuEventSynchronize(CUevent event) {
    return on_event(event, [&](World& world) {
        if (event->record) world.wait(event->record);
        return event->context->failure;
    });
}

KF_EXPORT CUresult cuEventQuery(CUevent event) {
    return on_event(event, [&](World& world) {
        if (!event->record) return CUDA_SUCCESS;
        if (!event->record->done) {
            world.advance();
            return event->context->failure ? event->context->failure : CUDA_ERROR_NOT_READY;
        }
        world.host_saw(*event->record);
        return CUDA_SUCCESS;
    });
}

KF_EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    return on_event(start, [&](World& world) {
        if (!milliseconds) return CUDA_ERROR_INVALID_VALUE;
        if (!world.events.has(end) || !start->record || !end->record || (start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) return CUDA_ERROR_INVALID_HANDLE;
        if (!start->record->done || !end->record->done) return CUDA_ERROR_NOT_READY;
        *milliseconds = float(end->record->milliseconds - start->record->milliseconds);
        return CUDA_SUCCESS;
    });
}
