using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>
/// Plans the attention of steps on the host: finds which sequences start with the same blocks (Hydragen, arXiv:2402.05099, any number of groups and levels),
/// decides what is read together, cuts the work into items, and lays it out as flat arrays for one copy to the device. Works in integers; allocates nothing
/// once it has seen the largest step. A step with the sequences of the one before, their tables only grown, keeps forest, order and shared items.
/// </summary>
public sealed class AttentionPlanner
{
    private const int FoldsPerItem = 8;

    private readonly AttentionPlannerOptions _options;
    private readonly AttentionPlan _plan = new();
    private readonly PrefixForest _forest = new();
    private readonly AttentionRows _rows;
    private readonly SharingRule _rule;
    private readonly ItemWriter _items;
    private readonly List<Inherited> _inherited = []; // by node
    private readonly List<int> _levelsOf = [], _starts = []; // by node
    private readonly int[] _wideGrids;
    private PlanMemory _memory = new(), _spare = new();
    private bool _hasPlan;
    private int _groups, _levels;

    /// <param name="options">What it plans for.</param>
    /// <exception cref="ArgumentException">The options contradict each other.</exception>
    public AttentionPlanner(AttentionPlannerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        _options = options;
        _rows = new AttentionRows(options);
        _rule = new SharingRule(options.Tiling);
        _items = new ItemWriter(options);
        _wideGrids = new int[options.MaxPasses];
    }

    /// <summary>The plan of the last step, to be copied to the start of the memory that <see cref="On"/> takes.</summary>
    public ReadOnlySpan<int> Memory => _memory.Used;

    /// <summary>Ints of device memory for the plan of the last step: as many as <see cref="Memory"/> has, or room for the largest where capacity is fixed.</summary>
    public int MemoryLength => _memory.Layout.Length;

    /// <summary>Floats of workspace that the plan of the last step needs.</summary>
    public long WorkspaceLength => (long)Slots * _options.Format.KvHeads * _options.Tiling.SlotFloats;

    /// <summary>What the plan of the last step reads of the cache.</summary>
    public AttentionReads Reads { get; private set; }

    /// <summary>Whether the last step kept forest and shared items of the one before.</summary>
    internal bool WasReused { get; private set; }

    /// <summary>Decides by node instead of the cost model.</summary>
    internal Func<int, bool>? Forced { set => _rule.Forced = value; }

    private int Slots => _options.Capacity is null ? _items.Slots : _options.MaxSlots;

    /// <summary>Most ints that the plan of a step can need.</summary>
    /// <param name="options">Of the planner.</param>
    /// <param name="tokens">Query tokens.</param>
    /// <param name="sequences">Sequences.</param>
    /// <param name="blocks">Blocks of a sequence.</param>
    public static long MaxMemoryLength(AttentionPlannerOptions options, int tokens, int sequences, int blocks)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        return PlanLayout.LargestLength(options, tokens, sequences, blocks);
    }

    /// <summary>Plans a step. The arguments are those of <see cref="AttentionBatch"/>, on the host; they are copied.</summary>
    /// <exception cref="ArgumentException">The arrays contradict each other, a block id is none of the cache, or the step is beyond the capacity; nothing was planned.</exception>
    public void Plan(ReadOnlySpan<int> queryOffsets, ReadOnlySpan<int> contextLengths, ReadOnlySpan<int> blockOffsets, ReadOnlySpan<int> blockTables)
    {
        var step = new AttentionStep(queryOffsets, contextLengths, blockOffsets, blockTables);
        step.Check(_options.Format, _options.Blocks);
        WasReused = CanReuse(step);
        _hasPlan = false;
        if (WasReused) _rows.Build(step, _forest);
        else Share(step);
        Finish(step);
        PlanLayout layout = LayoutOf(step);
        _spare.Write(layout, step, _rows, _items);
        (_memory, _spare) = (_spare, _memory);
        _hasPlan = true;
        Reads = CountReads();
    }

    /// <summary>The plan of the last step on a device.</summary>
    /// <param name="memory"><see cref="MemoryLength"/> ints that start with a copy of <see cref="Memory"/>, at a multiple of 16 bytes.</param>
    /// <param name="workspace">At least <see cref="WorkspaceLength"/> floats; their contents do not matter.</param>
    /// <returns>Always the same object.</returns>
    public AttentionPlan On(DeviceSpan<int> memory, DeviceSpan<float> workspace)
    {
        Check.That(_hasPlan && memory.Length == MemoryLength, $"AttentionPlanner.On: {memory.Length} ints given, the plan has {MemoryLength}");
        Check.That(workspace.Length >= WorkspaceLength, $"AttentionPlanner.On: {workspace.Length} floats of workspace given, the plan needs {WorkspaceLength}");
        Check.That(memory.Address % 16 == 0, $"AttentionPlanner.On: the memory is at {memory.Address}, expected a multiple of 16");
        PlanLayout layout = _memory.Layout;
        AttentionStep step = _memory.Step;
        _plan.Batch = new AttentionBatch(
            memory.Slice(layout.QueryOffsets, step.Sequences + 1), memory.Slice(layout.ContextLengths, step.Sequences),
            memory.Slice(layout.BlockOffsets, step.Sequences + 1), memory.Slice(layout.BlockTables, step.BlockTables.Length), _options.Window);
        _plan.Tokens = layout.Tokens;
        _plan.Group = _options.Group;
        _plan.KvHeads = _options.Format.KvHeads;
        _plan.HeadDim = _options.Format.HeadDim;
        _plan.BlockSize = _options.Format.BlockSize;
        _plan.Blocks = _options.Blocks;
        _plan.Tiling = _options.Tiling;
        _plan.RowTokens = memory.Slice(layout.RowTokens, layout.Tokens);
        _plan.RowPositions = memory.Slice(layout.RowPositions, layout.Tokens);
        _plan.WideItems = memory.Slice(layout.WideItems, layout.Wide * AttentionItem.Ints).As<AttentionItem>();
        _plan.NarrowItems = memory.Slice(layout.NarrowItems, layout.Narrow * AttentionItem.Ints).As<AttentionItem>();
        _plan.Merges = memory.Slice(layout.MergeItems, layout.Merges * AttentionMerge.Ints).As<AttentionMerge>();
        _plan.Folds = memory.Slice(layout.FoldBases, layout.Folds);
        _plan.Ranges = memory.Slice(0, layout.RangesLength);
        _plan.Passes = layout.Passes;
        _plan.WideGrids = _wideGrids.AsMemory(0, layout.Passes);
        _plan.Grids = (layout.Narrow, layout.Merges);
        _plan.MergeRows = _options.Capacity is null ? MostRows(_items.Merges) : _options.Tiling.WideRows;
        _plan.Workspace = workspace;
        _plan.Slots = Slots;
        return _plan;
    }

    /// <summary>
    /// Whether the step goes on where the last one ended: as many sequences with as many query tokens each, tables only grown, contexts only by tokens that
    /// the last step computed. Then nothing new can be shared, and what was shared still is. Windows move, so with one every step is planned anew.
    /// </summary>
    private bool CanReuse(in AttentionStep step)
    {
        if (!_hasPlan || _options.Window > 0) return false;
        AttentionStep last = _memory.Step;
        if (!step.QueryOffsets.SequenceEqual(last.QueryOffsets)) return false;
        for (int s = 0; s < step.Sequences; s++)
        {
            if ((uint)(step.ContextLengths[s] - last.ContextLengths[s]) > (uint)step.Length(s)) return false;
            if (!step.Table(s).StartsWith(last.Table(s))) return false;
        }
        return true;
    }

    /// <summary>Forest, order, and the items of what is read together.</summary>
    private void Share(in AttentionStep step)
    {
        _forest.Build(step, _options.Format.BlockSize, findsPrefixes: _options.Sharing != AttentionSharing.Off);
        _rows.Build(step, _forest);
        Span<bool> isShared = _rule.Decide(_options.Sharing, _forest, _rows);
        _items.Clear();
        _items.Share = FairShare(isShared);
        _inherited.Clear();
        _inherited.Add(Inherited.None(0));
        _levelsOf.Clear();
        _levelsOf.Add(0);
        _groups = _levels = 0;
        for (int node = 1; node < isShared.Length; node++)
        {
            ref readonly PrefixNode prefix = ref _forest.Nodes[node];
            Inherited inherited = _inherited[prefix.Parent];
            int level = _levelsOf[prefix.Parent];
            if (isShared[node] && _items.TryShare(_rows, _rows.Nodes[node], _forest.Order[prefix.First], ref inherited))
            {
                _groups++;
                _levels = Math.Max(_levels, ++level);
            }
            _inherited.Add(inherited);
            _levelsOf.Add(level);
        }
        _items.Keep();
    }

    /// <summary>The items of what each sequence reads by itself.</summary>
    private void Finish(in AttentionStep step)
    {
        _items.Rewind();
        ReadOnlySpan<RowRange> sequences = _rows.Sequences;
        for (int i = 0; i < sequences.Length; i++) _items.Finish(_rows, sequences[i], _forest.Order[i], _inherited[_forest.NodeOf[i]]);
    }

    /// <summary>Positions of wide items that each processor would have if the work were spread evenly.</summary>
    private int FairShare(ReadOnlySpan<bool> isShared)
    {
        AttentionTiling tiling = _options.Tiling;
        long positions = 0;
        CollectionsMarshal.SetCount(_starts, isShared.Length);
        Span<int> starts = CollectionsMarshal.AsSpan(_starts);
        starts[0] = 0;
        for (int node = 1; node < isShared.Length; node++)
        {
            RowRange range = _rows.Nodes[node];
            int start = Math.Max(starts[_forest.Nodes[node].Parent], range.Low), end = isShared[node] ? Math.Max(start, range.End) : start;
            positions += (long)Tiles(range.Count) * (end - start);
            starts[node] = end;
        }
        for (int i = 0; i < _rows.Sequences.Length; i++)
        {
            RowRange range = _rows.Sequences[i];
            if (range.Count > tiling.NarrowRows) positions += (long)Tiles(range.Count) * (range.End - Math.Max(starts[_forest.NodeOf[i]], range.Low));
        }
        return (int)Math.Min(positions * _options.Format.KvHeads / tiling.Processors, int.MaxValue / 2);
    }

    private int Tiles(int rows) => (rows + _options.Tiling.WideRows - 1) / _options.Tiling.WideRows;

    private PlanLayout LayoutOf(in AttentionStep step)
    {
        int passes = 1;
        foreach (int pass in _items.Passes) passes = Math.Max(passes, pass + 1);
        var layout = new PlanLayout(
            passes, _items.Wide.Length, _items.Narrow.Length, _items.Merges.Length, _items.Folds.Length, step.Tokens, step.Sequences, step.BlockTables.Length);
        if (_options.Capacity is not { } capacity)
        {
            _wideGrids.AsSpan().Clear();
            foreach (int pass in _items.Passes) _wideGrids[pass]++;
            return layout;
        }

        int items = capacity.Items;
        var room = new PlanLayout(_options.MaxPasses, items, items, items, FoldsPerItem * items, capacity.Tokens, capacity.Sequences, capacity.BlockIds);
        Check.That(layout.Fits(room), $"AttentionPlanner: the step needs {layout}, beyond the capacity {room}");
        _wideGrids.AsSpan().Fill(items);
        return room;
    }

    private static int MostRows(ReadOnlySpan<AttentionMerge> merges)
    {
        int most = 0;
        foreach (ref readonly AttentionMerge merge in merges) most = Math.Max(most, merge.Rows);
        return most;
    }

    private AttentionReads CountReads()
    {
        long positions = 0, unshared = 0;
        foreach (ref readonly AttentionItem item in _items.Wide) positions += item.End - item.First;
        foreach (ref readonly AttentionItem item in _items.Narrow) positions += item.End - item.First;
        foreach (RowRange range in _rows.Sequences) unshared += Unshared(range);
        KvFormat format = _options.Format;
        return new AttentionReads(
            positions, unshared, 2 * format.KvHeads * format.HeadDim * format.DType.Size(), _groups, _levels, _items.Wide.Length + _items.Narrow.Length);
    }

    private long Unshared(RowRange range)
    {
        if (range.Count <= _options.Tiling.NarrowRows) return range.End - range.Low;
        long positions = 0;
        for (int row = range.First; row < range.First + range.Count; row += _options.Tiling.WideRows)
        {
            int last = Math.Min(row + _options.Tiling.WideRows, range.First + range.Count) - 1;
            positions += _rows.Positions[last / _options.Group] + 1 - _rows.Low(_rows.Positions[row / _options.Group]);
        }
        return positions;
    }
}
