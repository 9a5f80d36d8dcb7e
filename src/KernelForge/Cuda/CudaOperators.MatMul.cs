using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of matmul_*; the same fields in the same order as in matmul.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MatMulArgs(
    nint X, nint Weights, EpilogueArgs Epilogue, int K, int XStride, int WeightsStride, int LaneLength);

internal sealed partial class CudaOperators
{
    private const int MatMulBlockRows = 64, MatMulBlockColumns = 64, MatMulThreads = 128; // as in matmul.cu

    private LaneSumsArgs LaneSums => new(device.Workspace.Partials, device.Workspace.Counters);

    /// <summary>Takes one 16-bit type; result and residual may be F32.</summary>
    protected override void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
    {
        bool floatResult = result.DType == DType.F32;
        DType type = SameHalf("MatMul", x, weights, bias, floatResult ? default : result);
        if (TakesLibrary(x, weights, result, bias, residual)) return;
        switch (PathOf(x, RowsAreAligned(weights)))
        {
            case MatMulPath.Narrow: NarrowMatMul(x, weights, result, bias, residual, type); break;
            case MatMulPath.Wide: WideMatMul(x, weights, result, bias, residual, type); break;
            case MatMulPath.Warpgroups: WarpgroupMatMul(x, weights, result, bias, residual, type); break;
            default: SimpleMatMul(x, weights, result, bias, residual, type); break;
        }
    }

    protected override void MatMulCore(
        in DeviceMatrix x, DenseWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations) =>
        throw new NotSupportedException($"MatMul: {device.Name} has no products with {nameof(DenseWeights)}; they are for CPU devices");

    private void SimpleMatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        var args = new MatMulArgs(
            x.Address, weights.Address, EpilogueArgs.Of(result, bias, residual), x.Columns, x.RowStride, weights.RowStride,
            MatMulLanes.Length(weights.Rows, weights.Columns));
        Kernel("matmul", type, result.DType == DType.F32 ? "f32_simple" : "simple").Launch(
            grid: (CeilDiv(weights.Rows, MatMulBlockColumns), CeilDiv(x.Rows, MatMulBlockRows)), block: MatMulThreads, args);
    }

    /// <summary>
    /// Which kernels compute a product with x: those that are forced, or the fastest of those that take it. Warpgroups need their instructions, something to
    /// multiply and, as the narrow ones, rows at multiples of 16 bytes.
    /// </summary>
    private MatMulPath PathOf(in DeviceMatrix x, bool weightsAreAligned = true)
    {
        bool isAligned = weightsAreAligned && RowsAreAligned(x);
        MatMulPath path = options.MatMulPath != MatMulPath.Auto ? options.MatMulPath
            : x.Rows <= MostNarrowRows ? MatMulPath.Narrow
            : MatMulPath.Warpgroups;
        return path switch
        {
            MatMulPath.Warpgroups when !(_usesWarpgroupProducts && isAligned && x.Columns > 0) => MatMulPath.Wide,
            MatMulPath.Narrow when !isAligned => MatMulPath.Simple,
            _ => path,
        };
    }
}
