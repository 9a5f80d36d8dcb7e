using System.Diagnostics;

namespace KernelForge.Inference;

/// <summary>
/// Times the phases of a step without waiting in between: by the clock on the CPU, which computes at once, by events in the stream on CUDA.
/// </summary>
internal sealed class PhaseClock : IDisposable
{
    private readonly long[] _times;
    private readonly CudaEvent[] _events = [];

    /// <param name="device">What is timed.</param>
    /// <param name="marks">Points of time in a step.</param>
    public PhaseClock(Device device, int marks)
    {
        _times = new long[marks];
        if (device is CudaDevice cuda) _events = [.. Enumerable.Range(0, marks).Select(_ => cuda.CreateEvent())];
    }

    /// <summary>The work queued so far ends at this point.</summary>
    public void Mark(int index)
    {
        if (_events.Length > 0) _events[index].Record();
        else _times[index] = Stopwatch.GetTimestamp();
    }

    /// <summary>Time between two points. The device must have finished what was queued before the second.</summary>
    public TimeSpan Between(int first, int second)
    {
        if (_events.Length == 0) return Stopwatch.GetElapsedTime(_times[first], _times[second]);
        _events[second].Synchronize();
        return TimeSpan.FromMilliseconds(_events[second].ElapsedMs(_events[first]));
    }

    public void Dispose()
    {
        foreach (CudaEvent mark in _events) mark.Dispose();
    }
}
