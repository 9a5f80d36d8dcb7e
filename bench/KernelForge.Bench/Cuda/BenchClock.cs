using System.Diagnostics;
using Perfolizer.Horology;

namespace KernelForge.Bench;

/// <summary>
/// Nanoseconds of the device while a CUDA benchmark is open, of the host otherwise. A reading of the device records an event and waits for it, so the
/// difference of two is the time that the work queued between them took, not the time it took to queue it.
/// </summary>
internal sealed class BenchClock : IClock
{
    private CudaDevice? _device;
    private CudaEvent _last = null!, _next = null!;
    private double _nanoseconds;

    public static BenchClock Instance { get; } = new();

    public string Title => "Device events";

    public bool IsAvailable => true;

    public Frequency Frequency => Frequency.GHz;

    public long GetTimestamp()
    {
        if (_device is null) return (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency));
        _next.Record();
        _next.Synchronize();
        _nanoseconds += _next.ElapsedMs(_last) * 1e6; // from event to event: a float has no nanoseconds left after some seconds
        (_last, _next) = (_next, _last);
        return (long)_nanoseconds;
    }

    /// <summary>Reads the device's time until <see cref="Release"/>.</summary>
    public void Follow(CudaDevice device)
    {
        (_last, _next, _nanoseconds) = (device.CreateEvent(), device.CreateEvent(), 0);
        _last.Record();
        _device = device;
    }

    public void Release()
    {
        _device = null;
        _last.Dispose();
        _next.Dispose();
    }
}
