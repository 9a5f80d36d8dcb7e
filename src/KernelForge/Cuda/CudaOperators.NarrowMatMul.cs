using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of narrow_matmul_*; the same fields in the same order as in narrow_matmul.cu.</summary>
/// <typeparam name="TWeights"><see cref="PackedWeightsArgs"/> or <see cref="DenseWeightsArgs"/>.</typeparam>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct NarrowMatMulArgs<TWeights>(
    nint X, TWeights Weights, EpilogueArgs Epilogue, LaneSumsArgs Sums, int XStride, int ResultIsFloat) where TWeights : unmanaged;

internal sealed partial class CudaOperators
{
    private const int NarrowMatMulThreads = 128, NarrowMatMulColumns = 128; // THREADS, COLUMNS in narrow_matmul.cu
    private const int MostNarrowRows = 64; // of the largest tile

    /// <summary>Launches the narrow kernel for dense weights, slice after slice of rows.</summary>
    private void NarrowMatMul(
        in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        var args = DenseWeightsArgs.Of(weights);
        const int Bits = 16, Step = 64;
        LaunchNarrowMatMul(
            x, args, result, EpilogueArgs.Of(result, bias, residual), new NarrowGrid(Bits, args.Columns, args.K, args.LaneLength, Step, NarrowMatMulColumns * Step * sizeof(ushort)), type);
    }

    /// <summary>The same for packed weights.</summary>
    private void NarrowMatMul(
        in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        PackedWeightsArgs args = PackedWeightsArgs.Of(weights);
        const int Step = PackedLayout.Tile;
        int groups = args.GroupSize == 0 ? 0 : Step / args.GroupSize, groupBytes = PackedLayout.Tile * (sizeof(float) + (args.Zeros == 0 ? 0 : 1));
        LaunchNarrowMatMul(
            x, args, result, EpilogueArgs.Of(result, bias, residual, weights.IsGated),
            new NarrowGrid(weights.Format.Bits, args.Columns, args.K, args.LaneLength, Step, weights.Layout.BlockBytes + groups * groupBytes), type);
    }

    private void LaunchNarrowMatMul<TWeights>(in DeviceMatrix x, TWeights weights, in DeviceMatrix result, EpilogueArgs epilogue, in NarrowGrid grid, DType type)
        where TWeights : unmanaged
    {
        int most = options.NarrowRows == 0 ? MostNarrowRows : options.NarrowRows;
        for (int row = 0; row < x.Rows; row += most)
        {
            int rows = Math.Min(most, x.Rows - row), tile = options.NarrowRows != 0 ? most : rows <= 16 ? 16 : rows <= 32 ? 32 : 64;
            EpilogueArgs ofRows = epilogue with
            {
                Rows = rows,
                Result = result.RowAddress(row),
                Residual = epilogue.Residual == 0 ? 0 : epilogue.Residual + (nint)row * epilogue.ResidualStride * result.DType.Size(),
            };
            (string variant, int stages) = NarrowMatMulVariant(grid.Bits, tile);
            Kernel("narrow_matmul", type, variant).Launch(
                grid: (CeilDiv(grid.Columns, NarrowMatMulColumns), Math.Max(1, CeilDiv(grid.K, grid.LaneLength))), block: NarrowMatMulThreads,
                new NarrowMatMulArgs<TWeights>(x.RowAddress(row), weights, ofRows, LaneSums, x.RowStride, result.DType == DType.F32 ? 1 : 0),
                stages * (tile * grid.Step * sizeof(ushort) + grid.WeightBytes));
        }
    }

    /// <summary>The variant for weights of so many bits and a tile of so many rows, and STAGES of it.</summary>
    private static (string Variant, int Stages) NarrowMatMulVariant(int bits, int rows) => (bits, rows) switch
    {
        (4, 16) => ("w4_16", 6),
        (4, 32) => ("w4_32", 4),
        (4, _) => ("w4_64", 3),
        (8, 16) => ("w8_16", 4),
        (8, 32) => ("w8_32", 3),
        (8, _) => ("w8_64", 2),
        (_, 16) => ("dense_16", 4),
        (_, 32) => ("dense_32", 4),
        _ => ("dense_64", 3),
    };

    /// <summary>What a launch needs to know of the weights: their shape, k of a stage, and their bytes in a stage.</summary>
    private readonly record struct NarrowGrid(int Bits, int Columns, int K, int LaneLength, int Step, int WeightBytes);
}
