using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>
/// A run of rows and a run of positions that all of them may see; native/include/kf/attention_items.cuh says what is done with it. Row r of a key/value
/// head is token r / group in the order of the plan, query head r % group of that key/value head. Slot bases: the slot of row r is base + r.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttentionItem
{
    /// <summary>The base of no slot.</summary>
    public const int NoSlot = int.MinValue;

    /// <summary>Ints of an item.</summary>
    public const int Ints = 12;

    public int FirstRow, Rows;

    /// <summary>The smallest position of its rows' tokens.</summary>
    public int FirstPosition;

    /// <summary>Where its block table starts in the plan's block tables.</summary>
    public int Table;

    /// <summary>Positions; First is a multiple of the tile, End too where the split is left open.</summary>
    public int First, End;

    /// <summary>Its list in the plan's folds: records that its total starts from.</summary>
    public int FoldStart, FoldCount;

    /// <summary>Slot bases or <see cref="NoSlot"/>: the running state that it takes over, the one that it leaves, its total. Neither of the last two: the result.</summary>
    public int CarryIn, CarryOut, RecordOut;

    public int Reserved;
}

/// <summary>Rows whose records are folded, in the order of a list, into their result.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AttentionMerge(int FirstRow, int Rows, int FoldStart, int FoldCount)
{
    /// <summary>Ints of a merge.</summary>
    public const int Ints = 4;
}
