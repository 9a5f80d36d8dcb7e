namespace KernelForge.Tests;

/// <summary>
/// Carries a plan out with names of tiles instead of numbers: a state is the list of tiles that went into it, a total the list of splits that were folded
/// into it. Tiles that a row does not see change nothing, so they are left out; what is left has to be what the row computes alone.
/// </summary>
internal sealed class PlanInterpreter
{
    private readonly AttentionPlan _plan;
    private readonly AttentionItem[] _wide, _narrow;
    private readonly AttentionMerge[] _merges;
    private readonly int[] _folds, _ranges, _rowTokens, _positions, _tables;
    private readonly int[] _sequenceOf; // by token of the step
    private readonly Dictionary<int, Slot> _slots = [];
    private readonly Dictionary<int, List<Split>> _results = [];
    private readonly int[] _blockOffsets;
    private int _launch;

    public PlanInterpreter(AttentionPlan plan)
    {
        _plan = plan;
        (_wide, _narrow, _merges) = (plan.WideItems.ToArray(), plan.NarrowItems.ToArray(), plan.Merges.ToArray());
        (_folds, _ranges) = (plan.Folds.ToArray(), plan.Ranges.ToArray());
        (_rowTokens, _positions) = (plan.RowTokens.ToArray(), plan.RowPositions.ToArray());
        (_tables, _blockOffsets) = (plan.Batch.BlockTables.ToArray(), plan.Batch.BlockOffsets.ToArray());
        int[] offsets = plan.Batch.QueryOffsets.ToArray();
        Tokens = offsets[^1];
        _sequenceOf = new int[Tokens];
        for (int s = 0; s < plan.Batch.Sequences; s++) _sequenceOf.AsSpan(offsets[s]..offsets[s + 1]).Fill(s);
    }

    private int Tokens { get; }

    /// <summary>Runs all launches and compares every row with the canon.</summary>
    public void Check()
    {
        CheckTokens();
        for (int pass = 0; pass < _plan.Passes; pass++, _launch++)
        {
            (int start, int end) = (_ranges[pass], _ranges[pass + 1]);
            Assert.True(end - start <= _plan.WideGrids.Span[pass], "more items than the launch has blocks");
            for (int i = start; i < end; i++) Run(_wide[i], _plan.Tiling.WideRows);
        }
        (int narrow, int merges) = (_ranges[_plan.Passes + 2], _ranges[_plan.Passes + 4]);
        Assert.Equal((0, 0), (_ranges[_plan.Passes + 1], _ranges[_plan.Passes + 3]));
        Assert.True(narrow <= _plan.Grids.Narrow && merges <= _plan.Grids.Merges);
        for (int i = 0; i < narrow; i++) RunNarrow(_narrow[i]);
        _launch++;
        for (int i = 0; i < merges; i++) Run(_merges[i]);

        Assert.Equal(Tokens * _plan.Group, _results.Count);
        foreach ((int row, List<Split> total) in _results) Assert.Equal(Canon(row), Text(total));
    }

    private void CheckTokens()
    {
        int[] contexts = _plan.Batch.ContextLengths.ToArray(), offsets = _plan.Batch.QueryOffsets.ToArray();
        Assert.Equal(Enumerable.Range(0, Tokens), _rowTokens.Take(Tokens).Order());
        for (int i = 0; i < Tokens; i++)
        {
            int token = _rowTokens[i], sequence = _sequenceOf[token];
            Assert.Equal(contexts[sequence] + token - offsets[sequence], _positions[i]);
        }
    }

    private void RunNarrow(in AttentionItem item)
    {
        int split = _plan.Tiling.SplitSize;
        Assert.Equal(item.First / split, (item.End - 1) / split);
        Run(item, _plan.Tiling.NarrowRows);
    }

    private void Run(in AttentionItem item, int mostRows)
    {
        AttentionTiling tiling = _plan.Tiling;
        Assert.InRange(item.Rows, 1, mostRows);
        Assert.InRange(item.FirstRow, 0, Tokens * _plan.Group - item.Rows);
        Assert.True(item.First % tiling.TileSize == 0 && item.First < item.End);
        Assert.True(item.CarryOut == AttentionItem.NoSlot || item.End % tiling.TileSize == 0);
        for (int row = item.FirstRow; row < item.FirstRow + item.Rows; row++) RunRow(item, row);
    }

    private void RunRow(in AttentionItem item, int row)
    {
        AttentionTiling tiling = _plan.Tiling;
        CheckBlocks(item, row);
        Assert.True(item.FirstPosition <= Position(row));
        List<Split> total = Fold(item.FoldStart, item.FoldCount, row);
        Split state = item.CarryIn == AttentionItem.NoSlot ? new Split([]) : TakeCarry(item.CarryIn, row);
        if (state.Tiles.Length > 0) Assert.Equal(item.First / tiling.SplitSize, state.Tiles[0] / tiling.SplitSize);
        for (int tile = item.First; tile < item.End; tile += tiling.TileSize)
        {
            int end = Math.Min(tile + tiling.TileSize, item.End);
            if (end > LowOf(row) && tile <= Position(row))
            {
                Assert.True(end == tile + tiling.TileSize || end > Position(row), "a tile is cut before the row's position");
                state = new Split([.. state.Tiles, tile]);
            }
            bool endsSplit = (tile + tiling.TileSize) % tiling.SplitSize == 0, endsItem = tile + tiling.TileSize >= item.End;
            if (!endsSplit && (!endsItem || item.CarryOut != AttentionItem.NoSlot)) continue;
            Add(total, [state]);
            state = new Split([]);
        }

        if (item.CarryOut != AttentionItem.NoSlot) Store(item.CarryOut, row, new Slot(row, _launch, true, [state]));
        if (item.RecordOut != AttentionItem.NoSlot) Store(item.RecordOut, row, new Slot(row, _launch, false, total));
        else if (item.CarryOut == AttentionItem.NoSlot) Assert.True(_results.TryAdd(row, total), $"row {row} has two results");
    }

    private void Run(AttentionMerge merge)
    {
        for (int row = merge.FirstRow; row < merge.FirstRow + merge.Rows; row++)
            Assert.True(_results.TryAdd(row, Fold(merge.FoldStart, merge.FoldCount, row)), $"row {row} has two results");
    }

    /// <summary>What an item reads is what the row's own table holds.</summary>
    private void CheckBlocks(in AttentionItem item, int row)
    {
        int sequence = _sequenceOf[_rowTokens[row / _plan.Group]], size = _plan.BlockSize;
        ReadOnlySpan<int> own = _tables.AsSpan(_blockOffsets[sequence].._blockOffsets[sequence + 1]);
        int first = item.First / size, end = (item.End + size - 1) / size;
        Assert.True(end <= own.Length && own[first..end].SequenceEqual(_tables.AsSpan(item.Table + first, end - first)), $"row {row} reads another's blocks");
    }

    private List<Split> Fold(int start, int count, int row)
    {
        List<Split> total = [];
        for (int i = 0; i < count; i++)
        {
            Slot slot = Take(_folds[start + i], row);
            Assert.False(slot.IsCarry);
            Add(total, slot.Splits);
        }
        return total;
    }

    private static void Add(List<Split> total, List<Split> splits)
    {
        Split[] visible = [.. splits.Where(s => s.Tiles.Length > 0)];
        Assert.True(visible.Length <= 1 || total.Count == 0, "several splits are added to a total at once");
        total.AddRange(visible);
    }

    private Split TakeCarry(int slotBase, int row)
    {
        Slot slot = Take(slotBase, row);
        Assert.True(slot.IsCarry);
        return slot.Splits[0];
    }

    private Slot Take(int slotBase, int row)
    {
        Assert.True(_slots.TryGetValue(slotBase + row, out Slot? slot), $"row {row} reads the slot {slotBase + row}, which nobody wrote");
        Assert.Equal(row, slot.Row);
        Assert.True(slot.Launch < _launch, $"row {row} reads a slot of the same launch {_launch}");
        return slot;
    }

    private void Store(int slotBase, int row, Slot slot)
    {
        Assert.InRange(slotBase + row, 0, _plan.Slots - 1);
        Assert.True(_slots.TryAdd(slotBase + row, slot), $"slot {slotBase + row} is written twice");
    }

    private string Canon(int row)
    {
        AttentionTiling tiling = _plan.Tiling;
        int first = LowOf(row) / tiling.TileSize * tiling.TileSize;
        IEnumerable<int> tiles = Enumerable.Range(0, (Position(row) - first) / tiling.TileSize + 1).Select(i => first + i * tiling.TileSize);
        return Text(tiles.GroupBy(t => t / tiling.SplitSize).Select(g => new Split([.. g])));
    }

    private int Position(int row) => _positions[row / _plan.Group];

    private int LowOf(int row) => _plan.Batch.Window == 0 ? 0 : Math.Max(0, Position(row) - _plan.Batch.Window + 1);

    private static string Text(IEnumerable<Split> splits) => string.Join(" | ", splits.Select(s => string.Join(' ', s.Tiles)));

    private sealed record Split(int[] Tiles);

    private sealed record Slot(int Row, int Launch, bool IsCarry, List<Split> Splits);
}
