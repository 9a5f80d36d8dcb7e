using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>A state among the arguments of merge_attention_*; the same fields in the same order as in merge_attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct StateArgs(nint Out, nint Lse, int OutStride, int LseStride)
{
    public StateArgs(in AttentionState state)
        : this(state.Out.Address, state.Lse.Address, state.Out.RowStride, state.Lse.RowStride)
    {
    }
}

/// <summary>Arguments of merge_attention_*; the same fields in the same order as in merge_attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MergeAttentionArgs(StateArgs A, StateArgs B, StateArgs Result, int Tokens, int Heads, int HeadDim, int Reserved);

internal sealed partial class CudaOperators
{
    private const int MergeWarps = 4; // WARPS in merge_attention.cu

    /// <summary>Takes outputs of one type: F16, BF16 or F32.</summary>
    protected override void MergeAttentionCore(in AttentionState a, in AttentionState b, in AttentionState result)
    {
        int tokens = a.Lse.Rows, heads = a.Lse.Columns;
        var args = new MergeAttentionArgs(new StateArgs(a), new StateArgs(b), new StateArgs(result), tokens, heads, a.Out.Columns / heads, 0);
        Kernel("merge_attention", a.Out.DType).Launch(grid: CeilDiv(checked(tokens * heads), MergeWarps), block: MergeWarps * WarpSize, args);
    }
}
