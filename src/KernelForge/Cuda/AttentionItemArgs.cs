using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of the kernels that carry out a plan; the same fields in the same order as in attention_items.cuh, which says what they are.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AttentionItemArgs
{
    public nint Queries { get; init; }
    public nint Keys { get; init; }
    public nint Values { get; init; }
    public nint Result { get; init; }
    public nint Lse { get; init; }
    public nint RowTokens { get; init; }
    public nint RowPositions { get; init; }
    public nint BlockTables { get; init; }
    public nint Folds { get; init; }
    public nint Items { get; init; }
    public nint ItemRange { get; init; }
    public nint Outputs { get; init; }
    public nint Sums { get; init; }
    public long BlockStride { get; init; }
    public int HeadStride { get; init; }
    public int PositionStride { get; init; }
    public int Group { get; init; }
    public int KvHeads { get; init; }
    public int HeadDim { get; init; }
    public int BlockSize { get; init; }
    public int Slots { get; init; }
    public int QueriesStride { get; init; }
    public int ResultStride { get; init; }
    public int LseStride { get; init; }
    public int Window { get; init; }
    public int ResultIsFloat { get; init; }
    public Scoring Scoring { get; init; }
    public int Reserved { get; init; }
}
