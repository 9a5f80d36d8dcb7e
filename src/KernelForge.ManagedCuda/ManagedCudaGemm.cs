using ManagedCuda.BasicTypes;
using ManagedCuda.CudaBlas;

namespace KernelForge.ManagedCuda;

/// <summary>
/// Dense products by cuBLAS: beside <see cref="Operators.MatMul(in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix)"/> for comparison, or in its place as <see cref="CudaDeviceOptions.DenseMatMul"/>. Not batch
/// invariant: bits depend on the number of rows and on the version of cuBLAS.
/// </summary>
public sealed unsafe class ManagedCudaGemm : IDenseMatMul
{
    private readonly CudaDevice _device;
    private readonly CudaBlas _blas;

    /// <summary>Opens cuBLAS on the device's stream.</summary>
    public ManagedCudaGemm(CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        using CurrentContext context = device.Enter();
        _blas = new CudaBlas(new CUstream { Pointer = device.Stream.Handle });
    }

    /// <inheritdoc/>
    public string Name => "cuBLAS";

    /// <summary>result = x · weightsᵀ; see <see cref="MatMul(in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, bool)"/>.</summary>
    public void MatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result) => MatMul(x, weights, result, adds: false);

    /// <summary>Queues the product, with sums in F32.</summary>
    /// <param name="x">[rows, k], F16 or BF16.</param>
    /// <param name="weights">[n, k] of the same type.</param>
    /// <param name="result">[rows, n] of the same type, or F32.</param>
    /// <param name="adds">Whether the product is added to what the result holds; rounded once.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    /// <exception cref="CudaBlasException">cuBLAS refuses.</exception>
    public void MatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, bool adds)
    {
        Check(x, weights, result);
        if (result.IsEmpty) return;
        using CurrentContext context = _device.Enter();
        float one = 1, kept = adds ? 1 : 0;
        // cuBLAS counts columns first: it sees every matrix transposed, and resultᵀ = weights · xᵀ.
        CublasStatus status = CudaBlasNativeMethods.cublasGemmEx(
            _blas.CublasHandle, Operation.Transpose, Operation.NonTranspose, weights.Rows, x.Rows, x.Columns,
            (nint)(&one), At(weights), TypeOf(weights), weights.RowStride, At(x), TypeOf(x), x.RowStride,
            (nint)(&kept), At(result), TypeOf(result), result.RowStride, ComputeType.Compute32F, GemmAlgo.Default);
        if (status != CublasStatus.Success) throw new CudaBlasException(status);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        using CurrentContext context = _device.Enter();
        _blas.Dispose();
    }

    private static CUdeviceptr At(in DeviceMatrix matrix) => new((SizeT)(nuint)matrix.Address);

    private static cudaDataType TypeOf(in DeviceMatrix matrix) => matrix.DType switch
    {
        DType.F16 => cudaDataType.CUDA_R_16F,
        DType.BF16 => cudaDataType.CUDA_R_16BF,
        _ => cudaDataType.CUDA_R_32F,
    };

    private void Check(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result)
    {
        bool fits = weights.Columns == x.Columns && result.Rows == x.Rows && result.Columns == weights.Rows
            && x.DType is DType.F16 or DType.BF16 && weights.DType == x.DType && (result.DType == x.DType || result.DType == DType.F32);
        if (!fits) throw new ArgumentException($"MatMul: x {x}, weights {weights}, result {result}; expected [rows, k], [n, k], [rows, n] of F16 or BF16");
        if (x.Device != _device || weights.Device != _device || result.Device != _device)
            throw new ArgumentException($"MatMul: all matrices must be on {_device.Name}");
    }
}
