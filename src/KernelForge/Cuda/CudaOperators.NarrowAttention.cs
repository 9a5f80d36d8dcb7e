namespace KernelForge.Cuda;

internal sealed partial class CudaOperators
{
    private const int NarrowChunk = 16; // CHUNK in narrow_attention.cu
    private const int NarrowRing = 8; // RING
    private const int NarrowRows = 16; // ROWS

    /// <summary>The narrow items of a plan.</summary>
    private void LaunchNarrow(in AttentionItemArgs args, AttentionPlan plan, DType type)
    {
        int items = plan.Grids.Narrow;
        if (items == 0) return;
        (string variant, int warps, int warpBytes) = NarrowSizes(plan.HeadDim);
        Kernel("narrow_attention", type, variant).Launch(
            grid: (CeilDiv(items, warps), plan.KvHeads), block: warps * WarpSize,
            args with { Items = plan.NarrowItems.Address, ItemRange = plan.Ranges.Slice(plan.Passes + 1, 2).Address }, warps * warpBytes);
    }

    /// <summary>Whether a cache can have narrow items here; head_dim is one that wide items take.</summary>
    private static bool TakesNarrow(in KvFormat format) => format.BlockSize % NarrowChunk == 0;

    /// <summary>The variant for a head_dim, the warps of a block, and the shared memory of a warp.</summary>
    private static (string Variant, int Warps, int WarpBytes) NarrowSizes(int headDim)
    {
        (string variant, int columns, int warps) = headDim switch
        {
            <= 64 => ("64", 64, 2),
            <= 96 => ("96", 96, 2),
            <= 128 => ("128", 128, 2),
            _ => ("256", 256, 1),
        };
        return (variant, warps, (NarrowRows + NarrowRing * NarrowChunk) * columns * sizeof(ushort));
    }
}
