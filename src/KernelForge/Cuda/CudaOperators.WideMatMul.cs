using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>
/// Arguments of wide_matmul_*; the same fields in the same order as in wide_matmul.cu. Weights are <see cref="DenseWeightsArgs"/> or
/// <see cref="PackedWeightsArgs"/>.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct WideMatMulArgs<TWeights>(nint X, TWeights Weights, EpilogueArgs Epilogue, LaneSumsArgs LaneSums, int XStride, int Padding)
    where TWeights : unmanaged;

internal sealed partial class CudaOperators
{
    private const int WideMatMulTile = 128, WideMatMulThreads = 256, WideMatMulStep = 64; // as in wide_matmul.cu

    /// <summary>x times dense weights by wide_matmul, whatever the number of rows.</summary>
    private void WideMatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        var args = DenseWeightsArgs.Of(weights);
        LaunchWideMatMul(
            x, args, new WideMatMulGrid(16, x.Rows, args.Columns, args.K, args.LaneLength), EpilogueArgs.Of(result, bias, residual), result.DType, type);
    }

    /// <summary>x times packed weights by wide_matmul, whatever the number of rows; columns of x are in the order of the weights.</summary>
    private void WideMatMul(in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        PackedWeightsArgs args = PackedWeightsArgs.Of(weights);
        LaunchWideMatMul(
            x, args, new WideMatMulGrid(weights.Format.Bits, x.Rows, args.Columns, args.K, args.LaneLength),
            EpilogueArgs.Of(result, bias, residual, weights.IsGated), result.DType, type);
    }

    private void LaunchWideMatMul<TWeights>(
        in DeviceMatrix x, in TWeights weights, WideMatMulGrid grid, in EpilogueArgs epilogue, DType resultType, DType type) where TWeights : unmanaged
    {
        (string variant, int sharedBytes) = WideMatMulSizes(grid.Bits, resultType == DType.F32);
        Kernel("wide_matmul", type, variant).Launch(
            grid: (grid.Tiles, TakesLanesApart(grid) ? grid.Lanes : 1), block: WideMatMulThreads,
            new WideMatMulArgs<TWeights>(x.Address, weights, epilogue, LaneSums, x.RowStride, 0), sharedBytes);
    }

    /// <summary>
    /// Whether each lane of k has blocks of its own: where the multiprocessors, which run one block each, are done sooner so than with blocks that walk the lanes,
    /// and the workspace has room for their sums.
    /// </summary>
    private bool TakesLanesApart(in WideMatMulGrid grid)
    {
        const int PartialBytes = WideMatMulTile * WideMatMulTile * sizeof(float);
        if (grid.Lanes == 1 || (long)grid.Tiles * grid.Lanes > CudaWorkspace.PartialBytes / PartialBytes) return false;
        int processors = device.GetAttribute(CudaDeviceAttribute.MultiprocessorCount);
        return options.WideLanesApart ?? CeilDiv(grid.Tiles * grid.Lanes, processors) < grid.Lanes * CeilDiv(grid.Tiles, processors);
    }

    /// <summary>The variant for weights of so many bits, and its ring in shared memory: DenseStage and PackedStage in wide_matmul.cu.</summary>
    private static (string Variant, int SharedBytes) WideMatMulSizes(int bits, bool floatResult)
    {
        const int rows = WideMatMulTile * WideMatMulStep * 2, halves = WideMatMulStep / 32;
        const int scalesAndZeros = halves * WideMatMulTile * (sizeof(float) + sizeof(byte));
        return bits switch
        {
            4 => (floatResult ? "f32_w4" : "w4", 4 * (rows + rows / 4 + scalesAndZeros)),
            8 => (floatResult ? "f32_w8" : "w8", 3 * (rows + rows / 2 + scalesAndZeros)),
            _ => (floatResult ? "f32_dense" : "dense", 3 * (rows + rows)),
        };
    }

    /// <summary>The work of a launch: tiles of outputs and rows, and lanes of k.</summary>
    private readonly record struct WideMatMulGrid(int Bits, int Rows, int Outputs, int K, int LaneLength)
    {
        public int Tiles => CeilDiv(Rows, WideMatMulTile) * CeilDiv(Outputs, WideMatMulTile);

        public int Lanes => Math.Max(1, CeilDiv(K, LaneLength));
    }
}
