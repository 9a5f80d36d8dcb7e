using System.Collections.Concurrent;

namespace KernelForge.Cuda;

/// <summary>
/// The operators as CUDA kernels. An operator has a file of its own here and in native/kernels; it chooses a kernel and a grid, and launches. It does not
/// check what Operators checks, and never allocates or waits.
/// </summary>
internal sealed partial class CudaOperators(CudaDevice device, CudaDeviceOptions options) : Operators(device)
{
    private const int WarpSize = 32;

    private readonly ConcurrentDictionary<(string Operation, DType Type, string Variant), CudaKernel> _kernels = new();

    private static int CeilDiv(int value, int divisor) => (value + divisor - 1) / divisor;

    /// <summary>The kernel operation_type[_variant] of native/kernels/operation.cu. Found once; found again without allocation.</summary>
    private CudaKernel Kernel(string operation, DType type, string variant = "") =>
        _kernels.TryGetValue((operation, type, variant), out CudaKernel? kernel) ? kernel : FindKernel(operation, type, variant);

    private CudaKernel FindKernel(string operation, DType type, string variant)
    {
        string suffix = variant.Length == 0 ? "" : "_" + variant;
        CudaKernel kernel = device.KernelModule(operation).GetKernel($"{operation}_{type.ToString().ToLowerInvariant()}{suffix}");
        return _kernels.GetOrAdd((operation, type, variant), kernel);
    }

    /// <summary>The one 16-bit type that all float matrices of a call have.</summary>
    /// <exception cref="ArgumentException">A matrix has another type, or none of the two.</exception>
    private static DType SameHalf(string operation, in DeviceMatrix first, params ReadOnlySpan<DeviceMatrix> others)
    {
        Check.That(first.DType is DType.F16 or DType.BF16, $"{operation}: {first} given; on CUDA it takes F16 or BF16");
        foreach (DeviceMatrix other in others)
            Check.That(other.IsEmpty || other.DType == first.DType, $"{operation}: {first} and {other} given; on CUDA all must be F16 or all BF16");
        return first.DType;
    }
}
