namespace KernelForge.Tests.Cuda;

/// <summary>
/// An emulator for one test class, as a class fixture. After each test the class asks that nothing lives in it: no allocation, stream, event, module, graph or
/// pinned memory. The fixture keeps the contexts alive, because the driver frees what is left in a context when its last user goes.
/// </summary>
public sealed class CudaLeakCheck : IDisposable
{
    private static readonly string[] Kinds = ["allocations", "streams", "events", "modules", "graphs", "execs", "host"];

    private readonly PrivateEmulator _emulator = new();
    private readonly Lazy<DriverSession[]> _sessions;

    public CudaLeakCheck() => _sessions = new(() => [_emulator.Open("emulated-sm80"), _emulator.Open("emulated-sm90")]);

    /// <summary>What lives now, as "streams: 1".</summary>
    public string[] Live => [.. Kinds.Select(kind => (kind, count: _emulator.Live(kind))).Where(live => live.count != 0).Select(live => $"{live.kind}: {live.count}")];

    /// <summary>A device of it: 0 is an sm_80, 1 an sm_90.</summary>
    public CudaDevice Open(int ordinal = 0)
    {
        _ = _sessions.Value;
        return Device.OpenCuda(ordinal, new CudaDeviceOptions { Driver = _emulator.Driver });
    }

    /// <summary>Fails when something lives.</summary>
    public void AssertNothingIsLeft()
    {
        if (_sessions.IsValueCreated) Assert.Empty(Live);
    }

    public void Dispose()
    {
        if (_sessions.IsValueCreated)
            foreach (DriverSession session in _sessions.Value) session.Dispose();
        _emulator.Dispose();
    }
}
