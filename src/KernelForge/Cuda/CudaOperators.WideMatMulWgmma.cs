using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Dense weights as a tensor map; the same fields in the same order as MappedWeights in wide_matmul_wgmma.cu.</summary>
[StructLayout(LayoutKind.Sequential, Size = 192)] // a multiple of 64, as tensor maps are aligned
internal readonly record struct MappedWeightsArgs(CudaTensorMap Map, int Columns, int K, int LaneLength);

/// <summary>Arguments of wide_matmul_wgmma_*_dense; the same fields in the same order as in wide_matmul_wgmma.cu.</summary>
[StructLayout(LayoutKind.Sequential, Size = 384)]
internal readonly record struct DenseWarpgroupMatMulArgs(CudaTensorMap X, MappedWeightsArgs Weights, EpilogueArgs Epilogue, LaneSumsArgs LaneSums);

/// <summary>Arguments of wide_matmul_wgmma_*_w4 and _w8; the same fields in the same order as in wide_matmul_wgmma.cu.</summary>
[StructLayout(LayoutKind.Sequential, Size = 256)]
internal readonly record struct WarpgroupMatMulArgs(CudaTensorMap X, PackedWeightsArgs Weights, EpilogueArgs Epilogue, LaneSumsArgs LaneSums);

internal sealed partial class CudaOperators
{
    private const int WarpgroupMatMulThreads = 3 * WarpgroupSize; // THREADS in wide_matmul_wgmma.cu; its tiles are those of wide_matmul.cu

    private readonly bool _usesWarpgroupProducts = options.UsesWarpgroups && device.KernelNames.Contains("wide_matmul_wgmma");

    /// <summary>x times dense weights by wide_matmul_wgmma; the rows of both start at multiples of 16 bytes.</summary>
    private void WarpgroupMatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        var dense = new MappedWeightsArgs(MapOf(weights), weights.Rows, weights.Columns, MatMulLanes.Length(weights.Rows, weights.Columns));
        var args = new DenseWarpgroupMatMulArgs(MapOf(x), dense, EpilogueArgs.Of(result, bias, residual), LaneSums);
        LaunchWarpgroupMatMul(new WideMatMulGrid(16, x.Rows, dense.Columns, dense.K, dense.LaneLength), args, type, result.DType);
    }

    /// <summary>x times packed weights by wide_matmul_wgmma; columns of x are in the order of the weights.</summary>
    private void WarpgroupMatMul(in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        var packed = PackedWeightsArgs.Of(weights);
        var args = new WarpgroupMatMulArgs(MapOf(x), packed, EpilogueArgs.Of(result, bias, residual, weights.IsGated), LaneSums);
        LaunchWarpgroupMatMul(new WideMatMulGrid(weights.Format.Bits, x.Rows, packed.Columns, packed.K, packed.LaneLength), args, type, result.DType);
    }

    private void LaunchWarpgroupMatMul<TArgs>(in WideMatMulGrid grid, in TArgs args, DType type, DType resultType) where TArgs : unmanaged
    {
        string variant = (grid.Bits, resultType == DType.F32) switch
        {
            (4, false) => "w4",
            (4, true) => "f32_w4",
            (8, false) => "w8",
            (8, true) => "f32_w8",
            (_, false) => "dense",
            (_, true) => "f32_dense",
        };
        Kernel("wide_matmul_wgmma", type, variant).Launch(
            grid: (grid.Tiles, TakesLanesApart(grid) ? grid.Lanes : 1), block: WarpgroupMatMulThreads, args, WarpgroupSharedBytes(grid.Bits));
    }

    /// <summary>Stages of x and weights, packed ones with four rows of scales and zero points, and two barriers each; Shared in wide_matmul_wgmma.cu.</summary>
    private static int WarpgroupSharedBytes(int bits)
    {
        const int Groups = 4, Alignment = 1024;
        (int stages, int k, int scales) = bits == 16 ? (6, 64, 0) : (4, 128, Groups * WideMatMulTile * (sizeof(float) + sizeof(byte)));
        int stage = WideMatMulTile * k * (16 + bits) / 8 + scales;
        return stages * (CeilDiv(stage, Alignment) * Alignment + 2 * sizeof(long));
    }

    /// <summary>A 16-bit matrix by boxes of 128 rows and 64 columns, 128 bytes.</summary>
    private CudaTensorMap MapOf(in DeviceMatrix matrix)
    {
        Span<int> box = [TensorMapColumns, WideMatMulTile]; // on the stack: a ReadOnlySpan of constants makes garbage where code is not optimised
        return device.EncodeTensorMap(
            matrix.Address, matrix.DType, [matrix.Columns, matrix.Rows], [(long)matrix.RowStride * matrix.DType.Size()], box, CudaTensorSwizzle.Bytes128);
    }
}
