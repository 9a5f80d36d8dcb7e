namespace KernelForge.Cuda;

/// <summary>
/// Memory of a device that products use between and within launches. Made once, never grown, so that a captured graph stays valid. Launches share it in the order of
/// the device's one stream; a graph that runs on another stream beside it must not contain products.
/// </summary>
internal sealed class CudaWorkspace
{
    /// <summary>Room for sums of lanes, F32: 240 blocks of 128 columns and 128 rows, which is as many as there are where k has several lanes.</summary>
    public const int PartialBytes = 16 << 20;

    /// <summary>Room for rows of x whose columns were put in the order of the weights.</summary>
    public const int GatheredBytes = 8 << 20;

    /// <summary>Counters of blocks that have left their sums.</summary>
    public const int CounterCount = 4096;

    /// <param name="device">Where it lies.</param>
    /// <param name="address">Memory of <see cref="Bytes"/> bytes, the counters 0.</param>
    public CudaWorkspace(Device device, nint address)
    {
        Partials = address;
        Counters = address + PartialBytes + GatheredBytes;
        Gathered = device.Wrap(address + PartialBytes, DType.I8, GatheredBytes);
    }

    public static int Bytes => PartialBytes + GatheredBytes + CounterBytes;

    public static int CounterBytes => CounterCount * sizeof(int);

    /// <summary>Address of the sums of lanes.</summary>
    public nint Partials { get; }

    /// <summary>Address of the counters: 0 before and after every launch.</summary>
    public nint Counters { get; }

    public DeviceBuffer Gathered { get; }
}
