namespace KernelForge;

/// <summary>Dense products of another library, which a <see cref="CudaDevice"/> can use in place of its own kernels: <see cref="CudaDeviceOptions.DenseMatMul"/>.</summary>
public interface IDenseMatMul : IDisposable
{
    /// <summary>What it is, for people.</summary>
    string Name { get; }

    /// <summary>
    /// Queues result = x · weightsᵀ on the device's stream, or result += x · weightsᵀ where <paramref name="adds"/>. No matrix is empty, all are on the device.
    /// </summary>
    /// <param name="x">[rows, k], F16 or BF16.</param>
    /// <param name="weights">[n, k] of the same type.</param>
    /// <param name="result">[rows, n] of the same type, or F32.</param>
    /// <param name="adds">Whether the product is added to what the result holds.</param>
    void MatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, bool adds);
}
