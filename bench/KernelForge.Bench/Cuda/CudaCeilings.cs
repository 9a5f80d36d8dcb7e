namespace KernelForge.Bench;

/// <summary>What the CUDA device reaches: copies within its memory, sampled before every case, and the tensor cores' rate by its data sheet.</summary>
internal static class CudaCeilings
{
    private const int CopyBytes = 256 << 20, Copies = 10;

    private static readonly List<double> GigaBytes = [];
    private static double _gigaFlops;

    public static Ceiling Current => new(_gigaFlops, GigaBytes.Order().ElementAt(GigaBytes.Count / 2));

    /// <summary>Takes a sample of the copy rate.</summary>
    public static void Measure(CudaDevice device)
    {
        _gigaFlops = TensorGigaFlops(device);
        int bytes = (int)Math.Min(CopyBytes, device.AvailableBytes / 4);
        using DeviceBuffer source = device.Allocate(DType.I8, bytes), destination = device.Allocate(DType.I8, bytes);
        using CudaEvent start = device.CreateEvent(), end = device.CreateEvent();
        device.Stream.Clear(source.AsSpan<sbyte>());
        device.Stream.Copy(source.AsSpan<sbyte>(), destination.AsSpan<sbyte>());
        start.Record();
        for (int i = 0; i < Copies; i++) device.Stream.Copy(source.AsSpan<sbyte>(), destination.AsSpan<sbyte>());
        end.Record();
        end.Synchronize();
        GigaBytes.Add(2.0 * bytes * Copies / (end.ElapsedMs(start) * 1e6));
    }

    /// <summary>Dense F16 with F32 sums: multiprocessors · clock · operations per clock of the architecture's data sheet.</summary>
    private static double TensorGigaFlops(CudaDevice device)
    {
        int perClock = (device.ComputeCapability.Major, device.ComputeCapability.Minor) switch
        {
            (8, 0) => 2048,
            (8, _) => 1024, // a half of it on consumer parts
            (9, _) => 4096,
            _ => 8192,
        };
        return 1e-6 * device.GetAttribute(CudaDeviceAttribute.MultiprocessorCount) * device.GetAttribute(CudaDeviceAttribute.ClockRate) * perClock;
    }
}
