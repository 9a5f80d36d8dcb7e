using System.Runtime.InteropServices;
using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>
/// A plan put together run by run: rows of neighbouring sequences walk on from where they stand. The sequences of the plan are in an order of their own. Whatever the runs, the bits must be those of attention without a plan.
/// </summary>
internal sealed class HandMadePlan
{
    private readonly AttentionPart[] _parts;
    private readonly int[] _order;
    private readonly KvFormat _format;
    private readonly int _group, _rowsOfItem;
    private readonly AttentionTiling _tiling;
    private readonly List<List<AttentionItem>> _passes = [];
    private readonly List<AttentionItem> _narrow = [];
    private readonly List<AttentionMerge> _merges = [];
    private readonly List<int> _folds = [];
    private int _slots;

    /// <param name="device">Subject.</param>
    /// <param name="format">Of the cache.</param>
    /// <param name="group">Query heads of a key/value head.</param>
    /// <param name="parts">Sequences in the order of the batch.</param>
    /// <param name="order">Which of them the plan has first, second, ...</param>
    /// <param name="rowsOfItem">Most rows of an item; 0: what the device takes.</param>
    public HandMadePlan(Device device, KvFormat format, int group, AttentionPart[] parts, int[] order, int rowsOfItem = 0)
    {
        (_format, _group, _parts, _order) = (format, group, parts, order);
        _tiling = device.Operators.AttentionTiling(format);
        _rowsOfItem = rowsOfItem == 0 ? _tiling.WideRows : rowsOfItem;
    }

    /// <summary>Where a run of rows stands: what is folded first, the base of its open state, and the pass in which it may go on.</summary>
    public readonly record struct State(int[] Folds, int Carry, int Pass, int Position)
    {
        public static State Start { get; } = new([], AttentionItem.NoSlot, 0, 0);
    }

    public int TileSize => _tiling.TileSize;

    public int SplitSize => _tiling.SplitSize;

    /// <summary>One item for every tile of rows, over the positions from where the sequences first .. end - 1 of the plan stand to a multiple of the tile.</summary>
    public State Walk(int first, int end, in State from, int to)
    {
        int firstRow = Row(first), rows = Row(end) - firstRow;
        bool closesSplits = to / SplitSize > from.Position / SplitSize, leavesOpen = to % SplitSize != 0;
        int record = closesSplits ? TakeSlots(firstRow, rows) : AttentionItem.NoSlot, carry = leavesOpen ? TakeSlots(firstRow, rows) : AttentionItem.NoSlot;
        AddItems(first, end, from.Pass, from, to, carry, record);
        return new State(closesSplits ? [record] : from.Folds, carry, from.Pass + 1, to);
    }

    /// <summary>An item for every split and tile of rows, each a record of its own. Both positions are multiples of the split.</summary>
    public State Singles(int first, int end, in State from, int to)
    {
        int firstRow = Row(first), rows = Row(end) - firstRow;
        List<int> folds = [.. from.Folds];
        for (int split = from.Position; split < to; split += SplitSize)
        {
            folds.Add(TakeSlots(firstRow, rows));
            AddItems(first, end, 0, State.Start with { Position = split }, split + SplitSize, AttentionItem.NoSlot, folds[^1]);
        }
        return new State([.. folds], AttentionItem.NoSlot, Math.Max(from.Pass, 1), to);
    }

    /// <summary>The rest of a sequence of the plan, and its result.</summary>
    public void Finish(int sequence, in State from)
    {
        AttentionPart part = _parts[_order[sequence]];
        AddItems(sequence, sequence + 1, from.Pass, from, part.First + part.Count, AttentionItem.NoSlot, AttentionItem.NoSlot);
    }

    /// <summary>The same by narrow items, one for every split and 16 rows; their records are merged if there are several.</summary>
    public void FinishNarrow(int sequence, in State start)
    {
        AttentionPart part = _parts[_order[sequence]];
        int firstRow = Row(sequence), rows = Row(sequence + 1) - firstRow, end = part.First + part.Count;
        if ((end - 1) / SplitSize == start.Position / SplitSize)
        {
            AddItems(_narrow, _tiling.NarrowRows, sequence, sequence + 1, start, end, AttentionItem.NoSlot, AttentionItem.NoSlot);
            return;
        }

        List<int> folds = [.. start.Folds];
        State state = start with { Folds = [] };
        while (state.Position < end)
        {
            int to = Math.Min((state.Position / SplitSize + 1) * SplitSize, end);
            folds.Add(TakeSlots(firstRow, rows));
            AddItems(_narrow, _tiling.NarrowRows, sequence, sequence + 1, state, to, AttentionItem.NoSlot, folds[^1]);
            state = State.Start with { Position = to };
        }
        _merges.Add(new AttentionMerge(firstRow, rows, _folds.Count, folds.Count));
        _folds.AddRange(folds);
    }

    /// <summary>The plan on the device, in buffers that <paramref name="use"/> may use.</summary>
    public float[][] Run(Device device, int window, Func<AttentionPlan, float[][]> use)
    {
        int[] tables = [.. _order.SelectMany(s => _parts[s].Table)], rows = [.. _order.SelectMany(TokensOf)], ranges = new int[_passes.Count + 1];
        int[] positions = [.. _order.SelectMany(s => Enumerable.Range(_parts[s].First, _parts[s].Count))];
        for (int pass = 0; pass < _passes.Count; pass++) ranges[pass + 1] = ranges[pass] + _passes[pass].Count;
        AttentionItem[] items = [.. _passes.SelectMany(pass => pass)];
        using DeviceBuffer itemBuffer = device.Upload<int>(MemoryMarshal.Cast<AttentionItem, int>(items)), foldBuffer = device.Upload<int>([.. _folds, 0]);
        using DeviceBuffer tableBuffer = device.Upload<int>(tables), rowBuffer = device.Upload<int>(rows), positionBuffer = device.Upload<int>(positions);
        using DeviceBuffer rangeBuffer = device.Upload<int>([.. ranges, 0, _narrow.Count, 0, _merges.Count]);
        using DeviceBuffer narrowBuffer = device.Upload<int>([.. MemoryMarshal.Cast<AttentionItem, int>(CollectionsMarshal.AsSpan(_narrow)), .. new int[AttentionItem.Ints]]);
        using DeviceBuffer mergeBuffer = device.Upload<int>([.. MemoryMarshal.Cast<AttentionMerge, int>(CollectionsMarshal.AsSpan(_merges)), .. new int[AttentionMerge.Ints]]);
        using var workspace = new GuardedMatrix(device, DType.F32, 1, Math.Max(1, _slots * _format.KvHeads * _tiling.SlotFloats));
        float[][] result = use(new AttentionPlan
        {
            Batch = new AttentionBatch(default, default, default, tableBuffer.AsSpan<int>(), window),
            Tokens = rows.Length,
            Group = _group,
            KvHeads = _format.KvHeads,
            HeadDim = _format.HeadDim,
            BlockSize = _format.BlockSize,
            Blocks = tables.Max() + 1,
            Tiling = _tiling,
            RowTokens = rowBuffer.AsSpan<int>(),
            RowPositions = positionBuffer.AsSpan<int>(),
            WideItems = itemBuffer.AsSpan<int>().As<AttentionItem>(),
            NarrowItems = narrowBuffer.AsSpan<int>().As<AttentionItem>(),
            MergeRows = _merges.Select(merge => merge.Rows).DefaultIfEmpty().Max(),
            Merges = mergeBuffer.AsSpan<int>().As<AttentionMerge>(),
            Grids = (_narrow.Count + 5 * Math.Sign(_narrow.Count), _merges.Count + Math.Sign(_merges.Count)), // those too many have nothing to do
            Folds = foldBuffer.AsSpan<int>(),
            Ranges = rangeBuffer.AsSpan<int>(),
            Passes = _passes.Count,
            WideGrids = (int[])[.. _passes.Select((pass, i) => pass.Count + i % 2)], // one block too many has nothing to do
            Workspace = workspace.Span<float>(),
            Slots = _slots,
        });
        workspace.AssertUntouchedAround();
        return result;
    }

    private void AddItems(int first, int end, int pass, in State from, int to, int carry, int record)
    {
        while (_passes.Count <= pass) _passes.Add([]);
        AddItems(_passes[pass], _rowsOfItem, first, end, from, to, carry, record);
    }

    private void AddItems(List<AttentionItem> items, int rowsOfItem, int first, int end, in State from, int to, int carry, int record)
    {
        int foldStart = _folds.Count, firstRow = Row(first), endRow = Row(end);
        _folds.AddRange(from.Folds);
        for (int row = firstRow; row < endRow; row += rowsOfItem)
        {
            int rows = Math.Min(rowsOfItem, endRow - row);
            items.Add(new AttentionItem
            {
                FirstRow = row,
                Rows = rows,
                FirstPosition = Enumerable.Range(row, rows).Min(r => PositionOf(r / _group)),
                Table = _order[..first].Sum(s => _parts[s].Table.Length),
                First = from.Position,
                End = to,
                FoldStart = foldStart,
                FoldCount = from.Folds.Length,
                CarryIn = from.Carry,
                CarryOut = carry,
                RecordOut = record,
            });
        }
    }

    /// <summary>The base of slots for rows that start at firstRow.</summary>
    private int TakeSlots(int firstRow, int rows) => (_slots += rows) - rows - firstRow;

    /// <summary>The first row of a sequence of the plan.</summary>
    private int Row(int sequence) => _order[..sequence].Sum(s => _parts[s].Count) * _group;

    private int PositionOf(int token)
    {
        foreach (int s in _order)
        {
            if (token < _parts[s].Count) return _parts[s].First + token;
            token -= _parts[s].Count;
        }
        throw new ArgumentOutOfRangeException(nameof(token));
    }

    /// <summary>Rows of queries and result of a sequence's tokens.</summary>
    private IEnumerable<int> TokensOf(int sequence) => Enumerable.Range(_parts[..sequence].Sum(p => p.Count), _parts[sequence].Count);
}
