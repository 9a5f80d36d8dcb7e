using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of wide_attention_wgmma_*; the same fields in the same order as in wide_attention_wgmma.cu.</summary>
[StructLayout(LayoutKind.Sequential, Size = 448)] // a multiple of 64, as tensor maps are aligned
internal readonly record struct WideAttentionWgmmaArgs(CudaTensorMap Keys, CudaTensorMap Values, WideAttentionArgs Items);

internal sealed partial class CudaOperators
{
    private const int WarpgroupSize = 128;
    private const int WarpgroupRows = 64; // ROWS in wide_attention_wgmma.cu
    private const int TensorMapColumns = 64; // RUN: 128 bytes

    private readonly bool _usesWarpgroups = options.UsesWarpgroups && device.KernelNames.Contains("wide_attention_wgmma");

    /// <summary>
    /// Whether wide items of this shape are computed by warpgroup products, on compute capability 9.0: blocks that tile a swizzled run and the softmax's tile
    /// alike, and at least one key. Everything else <see cref="TakesItems"/> takes is computed by wide_attention, with the same bits.
    /// </summary>
    private bool TakesWarpgroups(in WideAttentionArgs args) =>
        _usesWarpgroups && args.Plan.BlockSize is var size && (size is 8 or 16 or 32 or 64 || size % TileSize == 0)
        && (args.DenseRows == 0 || args.DensePositions > 0);

    /// <summary>Launches wide_attention_wgmma; the cache has so many blocks.</summary>
    private void LaunchWideByWarpgroups(in WideAttentionArgs items, int blocks, int grid, DType type)
    {
        (string variant, int columns, int consumers, int stages) = items.Plan.HeadDim switch // Sizes in wide_attention_wgmma.cu
        {
            <= 64 => ("64", 64, 2, 2),
            <= 96 => ("96", 96, 2, 2),
            <= 128 => ("128", 128, 2, 2),
            _ => ("256", 256, 1, 1),
        };
        int runBytes = CeilDiv(columns, TensorMapColumns) * TensorMapColumns * type.Size();
        int sharedBytes = runBytes * (consumers * WarpgroupRows + 2 * stages * TileSize) // queries, keys and values
            + columns / 2 * consumers * WarpgroupSize * sizeof(float) // totals
            + 8 * 2 * sizeof(long) + AttentionItem.Ints * sizeof(int); // barriers, the item
        var args = new WideAttentionWgmmaArgs(MapOf(items.Plan.Keys, items, blocks, type), MapOf(items.Plan.Values, items, blocks, type), items);
        Kernel("wide_attention_wgmma", type, variant).Launch(
            grid: (grid, items.Plan.KvHeads), block: (1 + consumers) * WarpgroupSize, args, sharedBytes);
    }

    /// <summary>Keys or values as [block][kv head][position][element], and the box that one copy brings: 64 elements of a block's positions, or of a tile's.</summary>
    private CudaTensorMap MapOf(nint address, in WideAttentionArgs items, int blocks, DType type)
    {
        AttentionItemArgs plan = items.Plan;
        long positions = items.DenseRows > 0 ? items.DensePositions : plan.BlockSize, elementBytes = type.Size();
        long blockStride = blocks > 1 ? plan.BlockStride : plan.HeadStride; // of one block it does not matter, but it must be small
        return device.EncodeTensorMap(
            address, type,
            [plan.HeadDim, positions, plan.KvHeads, blocks],
            [plan.PositionStride * elementBytes, plan.HeadStride * elementBytes, blockStride * elementBytes],
            [TensorMapColumns, Math.Min(plan.BlockSize, TileSize), 1, 1],
            CudaTensorSwizzle.Bytes128);
    }
}
