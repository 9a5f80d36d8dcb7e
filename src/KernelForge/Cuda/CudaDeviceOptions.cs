using KernelForge.Cuda;

namespace KernelForge;

/// <summary>What <see cref="Device.OpenCuda"/> can be told.</summary>
public sealed record CudaDeviceOptions
{
    /// <summary>Who calls the driver; null to choose as <see cref="CudaDrivers"/> says.</summary>
    public ICudaDriver? Driver { get; init; }

    /// <summary>The driver library to open, when <see cref="Driver"/> is null; null for the one of the environment or the machine.</summary>
    public string? DriverLibrary { get; init; }

    /// <summary>
    /// A folder with kernels that replace the built-in ones, as sm_80/rms_norm.ptx; null for the folder that KERNELFORGE_KERNEL_PATH names, if any.
    /// </summary>
    public string? KernelFolder { get; init; }

    /// <summary>A stream of the device's primary context that the operators run on, owned by the caller; 0 for one of the device's own.</summary>
    public nint Stream { get; init; }

    /// <summary>
    /// Makes another library's dense products for <see cref="Operators.MatMul(in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix)"/>, such as cuBLAS through the ManagedCuda adapter; null for the kernels here. They may
    /// be faster for many rows, but a row's bits then depend on the rows beside it, and <see cref="Operators.IsBatchInvariant"/> is false. Freed with the device.
    /// </summary>
    public Func<CudaDevice, IDenseMatMul>? DenseMatMul { get; init; }

    /// <summary>Whether kernels of warpgroup products go first where the device has them; those by mma.sync give the same bits.</summary>
    internal bool UsesWarpgroups { get; init; } = true;

    /// <summary>Which kernels compute products; all give the same bits.</summary>
    internal MatMulPath MatMulPath { get; init; }

    /// <summary>Whether wide products give the lanes of k to blocks of their own; null where that is faster. The bits are the same.</summary>
    internal bool? WideLanesApart { get; init; }

    /// <summary>Rows that narrow products compute at once, 16, 32 or 64; 0 for as many as there are.</summary>
    internal int NarrowRows { get; init; }

    /// <summary>Bytes of pinned memory through which uploads go.</summary>
    public int StagingBytes { get; init; } = 4 << 20;
}
