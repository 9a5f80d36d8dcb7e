using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>What rows have behind them at a position: records of all splits that ended before it, and the state of the split that it lies in.</summary>
/// <param name="Start">The position.</param>
/// <param name="FoldStart">Their run in the folds.</param>
/// <param name="FoldCount">Records.</param>
/// <param name="FoldPass">The last pass that makes one of them; -1 without any.</param>
/// <param name="Carry">Slot base of the state, or <see cref="AttentionItem.NoSlot"/>.</param>
/// <param name="CarryPass">The pass that makes it; -1 without one.</param>
internal readonly record struct Inherited(int Start, int FoldStart, int FoldCount, int FoldPass, int Carry, int CarryPass)
{
    /// <summary>Nothing: where a sequence starts, or where what is behind is out of its window.</summary>
    public static Inherited None(int start) => new(start, 0, 0, -1, AttentionItem.NoSlot, -1);
}

/// <summary>
/// Turns ranges into items, and keeps count of slots and passes. What has no room is walked in fewer, longer items. Items name the sequence whose block table
/// they read; <see cref="PlanMemory"/> puts in where that starts.
/// </summary>
internal sealed class ItemWriter(AttentionPlannerOptions options)
{
    private readonly AttentionTiling _tiling = options.Tiling;
    private readonly List<AttentionItem> _wide = [], _narrow = [];
    private readonly List<AttentionMerge> _merges = [];
    private readonly List<int> _passes = [], _folds = [];
    private (int Wide, int Folds, int Slots) _kept;

    public ReadOnlySpan<AttentionItem> Wide => CollectionsMarshal.AsSpan(_wide);
    public ReadOnlySpan<AttentionItem> Narrow => CollectionsMarshal.AsSpan(_narrow);
    public ReadOnlySpan<AttentionMerge> Merges => CollectionsMarshal.AsSpan(_merges);
    public ReadOnlySpan<int> Folds => CollectionsMarshal.AsSpan(_folds);

    /// <summary>By wide item.</summary>
    public ReadOnlySpan<int> Passes => CollectionsMarshal.AsSpan(_passes);

    /// <summary>Slots in use.</summary>
    public int Slots { get; private set; }

    /// <summary>Positions that a processor's fair share of the work has: what an item walks before more of them would run side by side.</summary>
    public int Share { get; set; }

    public void Clear()
    {
        _kept = default;
        Rewind();
    }

    /// <summary>Keeps what was written until now for the next steps.</summary>
    public void Keep() => _kept = (_wide.Count, _folds.Count, Slots);

    /// <summary>Takes back what was written since <see cref="Keep"/>.</summary>
    public void Rewind()
    {
        CollectionsMarshal.SetCount(_wide, _kept.Wide);
        CollectionsMarshal.SetCount(_passes, _kept.Wide);
        CollectionsMarshal.SetCount(_folds, _kept.Folds);
        _narrow.Clear();
        _merges.Clear();
        Slots = _kept.Slots;
    }

    /// <summary>Lets rows read a prefix together from where they are to its end.</summary>
    /// <returns>Whether there was room; if not, nothing changed.</returns>
    public bool TryShare(AttentionRows rows, RowRange range, int sequence, ref Inherited inherited)
    {
        Inherited start = StartOf(range, inherited);
        if (start.Start >= range.End) return false;
        RangeCut cut = Cut(start.Start, range.End, isLast: false);
        if (!HasRoom(cut, range.Count) || PassOf(cut, start) > options.MaxPasses - 2) cut = cut with { Walked = cut.Pieces };
        if (!HasRoom(cut, range.Count) || PassOf(cut, start) > options.MaxPasses - 2) cut = cut with { Walked = 1 };
        if (!HasRoom(cut, range.Count) || PassOf(cut, start) > options.MaxPasses - 2) return false;
        inherited = Write(rows, range, sequence, cut, start, isNarrow: false);
        return true;
    }

    /// <summary>Lets the rows of a sequence read what is left of it, and finishes their results.</summary>
    public void Finish(AttentionRows rows, RowRange range, int sequence, in Inherited inherited)
    {
        Inherited start = StartOf(range, inherited);
        if (range.Count <= _tiling.NarrowRows)
        {
            var cut = new RangeCut(start.Start, range.End, _tiling.SplitSize, isLast: true, mostWalked: 1);
            if (HasRoom(cut, range.Count))
            {
                Finish(rows, range, sequence, cut, start, isNarrow: true);
                return;
            }
        }

        for (int row = range.First; row < range.First + range.Count; row += _tiling.WideRows)
        {
            int count = Math.Min(_tiling.WideRows, range.First + range.Count - row);
            int end = rows.Positions[(row + count - 1) / options.Group] + 1;
            var part = new RowRange(row, count, rows.Low(rows.Positions[row / options.Group]), end);
            start = StartOf(part, inherited);
            RangeCut cut = Cut(start.Start, end, isLast: true);
            if (!HasRoom(cut, count)) cut = cut with { Walked = cut.Pieces };
            Finish(rows, part, sequence, cut, start, isNarrow: false);
        }
    }

    private void Finish(AttentionRows rows, RowRange range, int sequence, in RangeCut cut, in Inherited start, bool isNarrow)
    {
        Inherited end = Write(rows, range, sequence, cut, start, isNarrow);
        if (!cut.IsWhole) _merges.Add(new AttentionMerge(range.First, range.Count, end.FoldStart, end.FoldCount));
    }

    /// <summary>What is inherited, or nothing where it is out of the window of all rows.</summary>
    private static Inherited StartOf(RowRange range, in Inherited inherited) =>
        range.Low > inherited.Start ? Inherited.None(range.Low) : inherited;

    private RangeCut Cut(int first, int end, bool isLast) =>
        new(first, end, _tiling.SplitSize, isLast, Math.Max(1, (Share + _tiling.SplitSize - 1) / _tiling.SplitSize));

    private bool HasRoom(in RangeCut cut, int rows) => Slots + (long)cut.Slots * rows <= options.MaxSlots;

    /// <summary>The pass of a range's first item; the others depend on nothing.</summary>
    private static int PassOf(in RangeCut cut, in Inherited start) => 1 + Math.Max(start.CarryPass, cut.Folds ? start.FoldPass : -1);

    /// <summary>Writes the items of a range for all row tiles, and returns what its rows have behind them at its end.</summary>
    private Inherited Write(AttentionRows rows, RowRange range, int sequence, in RangeCut cut, in Inherited start, bool isNarrow)
    {
        int firstRecord = Slots - range.First, pass = PassOf(cut, start);
        int carry = cut.IsOpen ? firstRecord + cut.Records * range.Count : AttentionItem.NoSlot;
        int rowsPerItem = isNarrow ? _tiling.NarrowRows : _tiling.WideRows;
        Slots += cut.Slots * range.Count;
        for (int row = range.First; row < range.First + range.Count; row += rowsPerItem)
        {
            int count = Math.Min(rowsPerItem, range.First + range.Count - row), position = rows.FirstPosition(row, count);
            var item = new AttentionItem { FirstRow = row, Rows = count, FirstPosition = position, Table = sequence };
            int low = rows.Low(position), record = firstRecord;
            for (int piece = 0; piece < cut.Pieces; piece = piece == 0 ? cut.Walked : piece + 1)
            {
                bool isFirst = piece == 0, isOpenEnd = cut.IsOpen && (isFirst ? cut.IsWhole : piece == cut.Pieces - 1);
                bool hasRecord = isFirst ? cut.WalkHasRecord : !isOpenEnd;
                item.First = cut.PieceFirst(piece);
                item.End = cut.PieceEnd(isFirst ? cut.Walked - 1 : piece);
                (item.FoldStart, item.FoldCount) = isFirst && cut.Folds ? (start.FoldStart, start.FoldCount) : (0, 0);
                item.CarryIn = isFirst ? start.Carry : AttentionItem.NoSlot;
                item.CarryOut = isOpenEnd ? carry : AttentionItem.NoSlot;
                item.RecordOut = hasRecord ? record : AttentionItem.NoSlot;
                if (hasRecord) record += range.Count;
                if (low > item.First) SkipTo(Math.Min(low, rows.TileStart(item.End - 1)), ref item);
                Add(item, isFirst ? pass : 0, isNarrow);
            }
        }
        return EndOf(cut, start, firstRecord, range.Count, pass, carry);
    }

    /// <summary>Lets an item start behind tiles that none of its rows sees, nor anything before them.</summary>
    private static void SkipTo(int position, ref AttentionItem item)
    {
        item.First = position;
        item.FoldCount = 0;
        item.CarryIn = AttentionItem.NoSlot;
    }

    private void Add(in AttentionItem item, int pass, bool isNarrow)
    {
        if (isNarrow)
        {
            _narrow.Add(item);
            return;
        }
        _wide.Add(item);
        _passes.Add(pass);
    }

    private Inherited EndOf(in RangeCut cut, in Inherited start, int firstRecord, int rows, int pass, int carry)
    {
        Inherited end = start with { Start = cut.End, Carry = carry, CarryPass = !cut.IsOpen ? -1 : cut.IsWhole ? pass : 0 };
        if (cut.Records == 0) return end;
        int foldStart = _folds.Count, kept = cut.Folds ? 0 : start.FoldCount;
        for (int i = 0; i < kept; i++) _folds.Add(_folds[start.FoldStart + i]);
        for (int i = 0; i < cut.Records; i++) _folds.Add(firstRecord + i * rows);
        int foldPass = Math.Max(kept > 0 ? start.FoldPass : -1, cut.WalkHasRecord ? pass : 0);
        return end with { FoldStart = foldStart, FoldCount = _folds.Count - foldStart, FoldPass = foldPass };
    }
}
