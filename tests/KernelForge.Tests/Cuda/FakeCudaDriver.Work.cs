using System.Runtime.InteropServices;

namespace KernelForge.Tests.Cuda;

/// <summary>Memory, streams, events and graphs. Work runs at once, unless its stream is captured.</summary>
internal sealed unsafe partial class FakeCudaDriver
{
    public CUresult MemGetInfo(nuint* free, nuint* total)
    {
        *total = 1000;
        return Set(InContext("cuMemGetInfo"), free, (nuint)600);
    }

    public CUresult MemAlloc(nint* address, nuint bytes) => Allocate("cuMemAlloc", "memory", address, bytes);

    public CUresult MemFree(nint address) => Free("cuMemFree", "memory", address);

    public CUresult MemAllocAsync(nint* address, nuint bytes, nint stream) => Allocate("cuMemAllocAsync", "memory", address, bytes);

    public CUresult MemFreeAsync(nint address, nint stream) => Free("cuMemFreeAsync", "memory", address);

    public CUresult MemAllocHost(void** address, nuint bytes) => Allocate("cuMemAllocHost", "pinned memory", (nint*)address, bytes);

    public CUresult MemFreeHost(void* address) => Free("cuMemFreeHost", "pinned memory", (nint)address);

    public CUresult MemHostRegister(void* address, nuint bytes, uint flags)
    {
        CUresult result = InContext("cuMemHostRegister");
        if (result != CUresult.Success) return result;
        return _live.Add(("registered memory", (nint)address)) ? result : CUresult.HostMemoryAlreadyRegistered;
    }

    public CUresult MemHostUnregister(void* address)
    {
        CUresult result = InContext("cuMemHostUnregister");
        return _live.Remove(("registered memory", (nint)address)) ? result : CUresult.HostMemoryNotRegistered;
    }

    public CUresult MemcpyHtoDAsync(nint destination, void* source, nuint bytes, nint stream) =>
        Queue("cuMemcpyHtoDAsync", stream, () => NativeMemory.Copy(source, (void*)destination, bytes));

    public CUresult MemcpyDtoHAsync(void* destination, nint source, nuint bytes, nint stream) =>
        Queue("cuMemcpyDtoHAsync", stream, () => NativeMemory.Copy((void*)source, destination, bytes));

    public CUresult MemcpyDtoDAsync(nint destination, nint source, nuint bytes, nint stream) =>
        Queue("cuMemcpyDtoDAsync", stream, () => NativeMemory.Copy((void*)source, (void*)destination, bytes));

    public CUresult MemsetD8Async(nint destination, byte value, nuint count, nint stream) =>
        Queue("cuMemsetD8Async", stream, () => NativeMemory.Fill((void*)destination, count, value));

    public CUresult MemsetD32Async(nint destination, uint value, nuint count, nint stream) =>
        Queue("cuMemsetD32Async", stream, () => new Span<uint>((void*)destination, (int)count).Fill(value));

    public CUresult StreamCreate(nint* stream, uint flags) => Make("cuStreamCreate", "stream", stream);

    public CUresult StreamDestroy(nint stream) => End("cuStreamDestroy", "stream", stream);

    public CUresult StreamSynchronize(nint stream) =>
        _captures.ContainsKey(stream) ? CUresult.StreamCaptureUnsupported : InContext("cuStreamSynchronize");

    public CUresult StreamQuery(nint stream) => InContext("cuStreamQuery");

    public CUresult StreamWaitEvent(nint stream, nint @event, uint flags) => InContext("cuStreamWaitEvent");

    public CUresult EventCreate(nint* @event, uint flags) => Make("cuEventCreate", "event", @event);

    public CUresult EventDestroy(nint @event)
    {
        _recorded.Remove(@event);
        return End("cuEventDestroy", "event", @event);
    }

    public CUresult EventRecord(nint @event, nint stream)
    {
        _recorded.Add(@event);
        return InContext("cuEventRecord");
    }

    public CUresult EventQuery(nint @event) => InContext("cuEventQuery");

    public CUresult EventSynchronize(nint @event) => InContext("cuEventSynchronize");

    public CUresult EventElapsedTime(float* milliseconds, nint start, nint end) =>
        _recorded.Contains(start) && _recorded.Contains(end) ? Set(InContext("cuEventElapsedTime"), milliseconds, 1f) : CUresult.InvalidHandle;

    public CUresult StreamBeginCapture(nint stream, int mode)
    {
        CUresult result = InContext("cuStreamBeginCapture");
        if (result == CUresult.Success) _captures.Add(stream, []);
        return result;
    }

    public CUresult StreamEndCapture(nint stream, nint* graph)
    {
        CUresult result = InContext("cuStreamEndCapture");
        if (!_captures.Remove(stream, out List<Action>? work) || result != CUresult.Success) return result;
        *graph = New("graph");
        _graphs[*graph] = work;
        return result;
    }

    public CUresult GraphInstantiate(nint* instance, nint graph)
    {
        CUresult result = Make("cuGraphInstantiate", "graph instance", instance);
        if (result == CUresult.Success) _graphs[*instance] = _graphs[graph];
        return result;
    }

    public CUresult GraphExecUpdate(nint instance, nint graph)
    {
        CUresult result = InContext("cuGraphExecUpdate");
        if (result != CUresult.Success) return result;
        if (_graphs[instance].Count != _graphs[graph].Count) return CUresult.GraphExecUpdateFailure;
        _graphs[instance] = _graphs[graph];
        return result;
    }

    public CUresult GraphLaunch(nint instance, nint stream)
    {
        CUresult result = InContext("cuGraphLaunch");
        if (result == CUresult.Success) _graphs[instance].ForEach(work => work());
        return result;
    }

    public CUresult GraphExecDestroy(nint instance) => End("cuGraphExecDestroy", "graph instance", instance);

    public CUresult GraphDestroy(nint graph) => End("cuGraphDestroy", "graph", graph);

    private CUresult Allocate(string call, string kind, nint* address, nuint bytes)
    {
        if (bytes == 0) return CUresult.InvalidValue;
        CUresult result = InContext(call);
        if (result != CUresult.Success) return result;
        *address = (nint)NativeMemory.AlignedAlloc(bytes, 256);
        _live.Add((kind, *address));
        return result;
    }

    private CUresult Free(string call, string kind, nint address)
    {
        CUresult result = InContext(call);
        if (!_live.Remove((kind, address))) return CUresult.InvalidValue;
        NativeMemory.AlignedFree((void*)address);
        return result;
    }

    private CUresult Queue(string call, nint stream, Action work)
    {
        CUresult result = InContext(call);
        if (result != CUresult.Success) return result;
        if (_captures.TryGetValue(stream, out List<Action>? captured)) captured.Add(work);
        else work();
        return result;
    }
}
