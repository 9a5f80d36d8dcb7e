using KernelForge.Cuda;

namespace KernelForge;

/// <summary>What programs ask before they use a device.</summary>
public sealed unsafe partial class CudaDevice
{
    /// <summary>Architectures that kernels are built in for, as sm_80.</summary>
    public static IReadOnlyList<string> KernelArchitectures => KernelImages.BuiltInArchitectures;

    /// <summary>F16 and BF16: an operator takes one of the two for all of its matrices.</summary>
    public override IReadOnlyList<DType> ComputeTypes { get; } = [DType.F16, DType.BF16];

    /// <summary>Bytes that are free now.</summary>
    /// <exception cref="CudaException">The driver does not say.</exception>
    public override long AvailableBytes => MemoryInfo().Free;

    /// <summary>Bytes of all memory.</summary>
    /// <exception cref="CudaException">The driver does not say.</exception>
    public long TotalBytes => MemoryInfo().Total;

    /// <summary>CUDA version of the driver, as 12.4.</summary>
    public string DriverVersion => VersionText(Driver.Version);

    /// <summary>Devices that the driver has.</summary>
    public int Count
    {
        get
        {
            int count;
            Verify(Driver.DeviceGetCount(&count), "cuDeviceGetCount");
            return count;
        }
    }

    private (long Free, long Total) MemoryInfo()
    {
        using CurrentContext context = Enter();
        nuint free, total;
        Verify(Driver.MemGetInfo(&free, &total), "cuMemGetInfo");
        return ((long)free, (long)total);
    }
}
