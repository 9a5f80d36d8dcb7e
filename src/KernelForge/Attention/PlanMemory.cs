using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>How much of everything a plan has, and with it where each array lies in the one that is copied to the device; arrays start at multiples of 16 bytes.</summary>
internal readonly record struct PlanLayout(int Passes, int Wide, int Narrow, int Merges, int Folds, int Tokens, int Sequences, int BlockIds)
{
    public int RangesLength => Passes + 5;
    public int WideItems => Rounded(RangesLength);
    public int NarrowItems => WideItems + Wide * AttentionItem.Ints;
    public int MergeItems => NarrowItems + Narrow * AttentionItem.Ints;
    public int FoldBases => MergeItems + Merges * AttentionMerge.Ints;
    public int RowTokens => FoldBases + Rounded(Folds);
    public int RowPositions => RowTokens + Rounded(Tokens);
    public int QueryOffsets => RowPositions + Rounded(Tokens);
    public int ContextLengths => QueryOffsets + Rounded(Sequences + 1);
    public int BlockOffsets => ContextLengths + Rounded(Sequences);
    public int BlockTables => BlockOffsets + Rounded(Sequences + 1);
    public int Length => checked(BlockTables + BlockIds);

    /// <summary>Whether a plan of these sizes fits into one of the other's.</summary>
    public bool Fits(in PlanLayout other) =>
        Passes <= other.Passes && Wide <= other.Wide && Narrow <= other.Narrow && Merges <= other.Merges && Folds <= other.Folds && Tokens <= other.Tokens
        && Sequences <= other.Sequences && BlockIds <= other.BlockIds;

    /// <summary>
    /// The length of the largest plan of such steps. Items make records, of which there are at most as many as slots and as splits of all that is read, or
    /// finish the rows of a tile; a list names at most one record of each split.
    /// </summary>
    public static long LargestLength(AttentionPlannerOptions options, long tokens, long sequences, long blocks)
    {
        AttentionTiling tiling = options.Tiling;
        long splits = blocks * options.Format.BlockSize / tiling.SplitSize + 2, tiles = tokens * options.Group / tiling.WideRows + sequences;
        long finishing = tiles + sequences, items = finishing + Math.Min(options.MaxSlots, (PrefixForest.MaxDepth * tiles + finishing) * splits);
        const int Gaps = 64; // alignment, ranges' own ints, the ends of offsets
        return options.MaxPasses + items * AttentionItem.Ints * 2 + finishing * AttentionMerge.Ints + (finishing + sequences) * splits
            + 2 * tokens + 3 * sequences + sequences * blocks + Gaps;
    }

    private static int Rounded(int length) => (length + 3) / 4 * 4;
}

/// <summary>A plan as one array of ints.</summary>
internal sealed class PlanMemory
{
    private const int LengthClasses = 32;

    private readonly List<int> _next = [];
    private int[] _ints = [];
    private int _sequences, _blockIds;

    public PlanLayout Layout { get; private set; }

    /// <summary>The array, up to the last block id.</summary>
    public ReadOnlySpan<int> Used => _ints.AsSpan(0, Layout.BlockTables + _blockIds);

    /// <summary>The step that was planned.</summary>
    public AttentionStep Step => new(
        _ints.AsSpan(Layout.QueryOffsets, _sequences + 1), _ints.AsSpan(Layout.ContextLengths, _sequences),
        _ints.AsSpan(Layout.BlockOffsets, _sequences + 1), _ints.AsSpan(Layout.BlockTables, _blockIds));

    public void Write(in PlanLayout layout, in AttentionStep step, AttentionRows rows, ItemWriter items)
    {
        (Layout, _sequences, _blockIds) = (layout, step.Sequences, step.BlockTables.Length);
        int used = layout.BlockTables + _blockIds;
        if (_ints.Length < used) _ints = GC.AllocateUninitializedArray<int>(Math.Max(used, 2 * _ints.Length));
        Span<int> ints = _ints;
        WriteWide(items, step.BlockOffsets, ints[..(layout.Passes + 1)], Items(layout.WideItems, items.Wide.Length));
        ints[layout.Passes + 1] = 0;
        ints[layout.Passes + 2] = items.Narrow.Length;
        ints[layout.Passes + 3] = 0;
        ints[layout.Passes + 4] = items.Merges.Length;

        Span<AttentionItem> narrow = Items(layout.NarrowItems, items.Narrow.Length);
        items.Narrow.CopyTo(narrow);
        foreach (ref AttentionItem item in narrow) item.Table = step.BlockOffsets[item.Table];
        MemoryMarshal.Cast<AttentionMerge, int>(items.Merges).CopyTo(ints[layout.MergeItems..]);
        items.Folds.CopyTo(ints[layout.FoldBases..]);
        rows.Tokens.CopyTo(ints[layout.RowTokens..]);
        rows.Positions.CopyTo(ints[layout.RowPositions..]);
        step.QueryOffsets.CopyTo(ints[layout.QueryOffsets..]);
        step.ContextLengths.CopyTo(ints[layout.ContextLengths..]);
        step.BlockOffsets.CopyTo(ints[layout.BlockOffsets..]);
        step.BlockTables.CopyTo(ints[layout.BlockTables..]);
    }

    /// <summary>Orders wide items by pass, long ones first, and writes where each pass starts.</summary>
    private void WriteWide(ItemWriter items, ReadOnlySpan<int> blockOffsets, Span<int> ranges, Span<AttentionItem> ordered)
    {
        CollectionsMarshal.SetCount(_next, ranges.Length * LengthClasses);
        Span<int> next = CollectionsMarshal.AsSpan(_next);
        next.Clear();
        for (int i = 0; i < ordered.Length; i++) next[ClassOf(items, i)]++;
        for (int i = 0, start = 0; i < next.Length; i++) (next[i], start) = (start, start + next[i]);
        for (int pass = 0; pass < ranges.Length; pass++) ranges[pass] = next[pass * LengthClasses];
        for (int i = 0; i < ordered.Length; i++)
        {
            ref AttentionItem item = ref ordered[next[ClassOf(items, i)]++];
            item = items.Wide[i];
            item.Table = blockOffsets[item.Table];
        }
    }

    private static int ClassOf(ItemWriter items, int index)
    {
        ref readonly AttentionItem item = ref items.Wide[index];
        return items.Passes[index] * LengthClasses + LengthClasses - 1 - Math.Min(LengthClasses - 1, (item.End - item.First) >> 8);
    }

    private Span<AttentionItem> Items(int start, int count) => MemoryMarshal.Cast<int, AttentionItem>(_ints.AsSpan(start, count * AttentionItem.Ints));
}
