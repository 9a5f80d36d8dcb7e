namespace KernelForge.Cuda;

internal sealed partial class CudaOperators
{
    private const int FoldWarps = 4; // WARPS in fold_attention.cu
    private const int FoldRowsOfWarp = 4; // one after the other: as many as a decode has at most

    /// <summary>The merges of a plan.</summary>
    private void LaunchFold(in AttentionItemArgs args, AttentionPlan plan, DType type)
    {
        int merges = plan.Grids.Merges;
        if (merges == 0) return;
        Kernel("fold_attention", type).Launch(
            grid: (merges, plan.KvHeads, CeilDiv(plan.MergeRows, FoldWarps * FoldRowsOfWarp)), block: FoldWarps * WarpSize,
            args with { Items = plan.Merges.Address, ItemRange = plan.Ranges.Slice(plan.Passes + 3, 2).Address });
    }
}
