namespace KernelForge.Cuda;

internal sealed partial class CudaOperators
{
    private readonly IDenseMatMul? _library = options.DenseMatMul?.Invoke(device);

    /// <inheritdoc/>
    public override bool IsBatchInvariant => _library is null;

    /// <summary>Frees the library's handle, if there is a library.</summary>
    public void Close() => _library?.Dispose();

    /// <summary>Hands a product to the library. What has a bias, or a residual apart from the result, stays with the kernels here, as an empty product does.</summary>
    private bool TakesLibrary(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
    {
        bool inPlace = !residual.IsEmpty && residual.Address == result.Address && residual.RowStride == result.RowStride;
        if (_library is null || x.IsEmpty || !bias.IsEmpty || !(residual.IsEmpty || inPlace)) return false;
        _library.MatMul(x, weights, result, adds: inPlace);
        return true;
    }
}
