using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Drafts token trees with a small model on the same device, level by level: a pass takes the nodes of a level that are to have children and ranks the tokens
/// behind each. Which nodes there are is known before (<see cref="TreeShape"/>), so the host waits for nothing. The first child of a node is what
/// <see cref="DraftModelDrafter"/> would draft; the others are what it would draft were those before forbidden.
/// </summary>
/// <remarks>
/// Branches have blocks of their own here too, at the end of the draft model's cache. Keys and values of an accepted branch stay there: the model takes those
/// tokens again with what else it lacks of the sequence, in the first pass of the next step.
/// </remarks>
public sealed class TreeDrafter : IDrafter
{
    private readonly DraftModel _model;
    private readonly DraftShapes _shapes;
    private readonly DraftPaths _paths;
    private readonly DeviceBuffer _tokens, _ranked, _vocabulary;
    private readonly Operators _operators;
    private readonly int _branches;
    private readonly List<Tree> _trees = [];
    private readonly List<int> _places = []; // by node of all trees: where the tokens of its children are among the proposals; -1: it has none
    private readonly List<int> _numbers = []; // by node of all trees: its number among the drafts; -1: it is left out
    private readonly List<int> _innerNodes = [], _innerNumbers = []; // of all trees: nodes with children; by node of one tree: its number among them
    private readonly List<DraftNode> _inner = [];
    private int _proposals;

    /// <summary>Takes ownership of model and cache.</summary>
    /// <param name="model">The draft model, with the target's vocabulary.</param>
    /// <param name="cache">Its keys and values, with the target's block size and number of blocks, those of branches included.</param>
    /// <param name="options">How long drafts are and how many children a node has.</param>
    /// <param name="maxTokens">Most query tokens of a pass, the engine's token budget.</param>
    /// <param name="maxRows">Most sequences of a step.</param>
    /// <param name="prefixGroups">Whether sequences that share a prefix read its keys and values together.</param>
    /// <param name="branchBlocks">Blocks at the end of the cache that the scheduler does not have. A tree that needs more is cut.</param>
    public TreeDrafter(
        Transformer model, KvCache cache, SpeculationOptions options, int maxTokens, int maxRows, bool prefixGroups = true, int branchBlocks = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (MaxDraftLength, _branches) = (options.LongestDraft, options.Branches);
        int rows = Math.Min(maxRows, maxTokens), wanted = MostRanked(options, maxTokens, rows);
        _model = new DraftModel(model, cache, maxTokens, Math.Min(maxRows + branchBlocks, maxTokens), wanted, prefixGroups, branchBlocks);
        _shapes = new DraftShapes(_branches, options.Branches, MaxDraftLength);
        _paths = new DraftPaths(cache.Format.BlockSize, cache.Blocks - branchBlocks, branchBlocks);
        _operators = model.Device.Operators;
        _tokens = Filled(model.Device, new int[MostProposals(options, maxTokens, rows)]); // any ids will do where too few tokens are left to rank
        _ranked = model.Device.Allocate(DType.I32, (long)wanted * _branches);
        _vocabulary = Filled(model.Device, [.. Enumerable.Range(0, model.Config.VocabularySize)]);
    }

    /// <inheritdoc/>
    public int MaxDraftLength { get; }

    /// <summary>Bytes that the drafter allocates besides the model's weights and its KV cache.</summary>
    internal static long Bytes(
        Device device, ModelConfig config, DType computeType, int maxContext, KvFormat format, SpeculationOptions options, int maxTokens, int maxRows, int branchBlocks)
    {
        int rows = Math.Min(maxRows, maxTokens), wanted = MostRanked(options, maxTokens, rows);
        long ints = (long)wanted * options.Branches + MostProposals(options, maxTokens, rows) + config.VocabularySize;
        return DraftModel.ArenaBytes(device, config, computeType, maxContext, format, maxTokens, Math.Min(maxRows + branchBlocks, maxTokens), wanted, branchBlocks)
            + ints * sizeof(int);
    }

    /// <inheritdoc/>
    public void Draft(StepPlan plan, DraftBatch drafts)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(drafts);
        _model.BeginStep(plan);
        CatchUp(plan);
        RankChildren();
        for (int depth = 1; AddLevel(plan, depth); depth++) RankChildren();
        Describe(plan, drafts);
    }

    /// <summary>Learns which children are accepted, and which keys and values of drafted tokens are those of the sequence now.</summary>
    public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(drafts);
        foreach (Tree tree in _trees)
        {
            ReadOnlySpan<int> accepted = drafts.Accepted(tree.Row), own = _paths.NodesOf(_paths.Paths[tree.FirstPath]);
            _shapes.Observe(drafts.Nodes(tree.Row), accepted);
            int depth = 1;
            while (depth < own.Length && depth < accepted.Length && _numbers[tree.FirstNode + _innerNodes[tree.FirstInner + own[depth]]] == accepted[depth]) depth++;
            PlanRow row = plan.Rows[tree.Row];
            _model.Cover(row.Sequence.Table.Blocks, row.Start + row.Length, row.Start + row.Length + depth - 1);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _tokens.Dispose();
        _ranked.Dispose();
        _vocabulary.Dispose();
        _model.Dispose();
    }

    /// <summary>Rows that draft come first; a tree begins where all that a row lacks has found room.</summary>
    private void CatchUp(StepPlan plan)
    {
        foreach (List<int> list in (ReadOnlySpan<List<int>>)[_places, _numbers, _innerNodes]) list.Clear();
        _trees.Clear();
        _paths.Clear();
        _proposals = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            int length = _model.ChainLength(row, MaxDraftLength);
            if (length > 0 && _model.CatchUp(row)) BeginTree(i, row, _shapes.OfLength(length));
        }
    }

    private void BeginTree(int index, in PlanRow row, TreeShape shape)
    {
        var tree = new Tree(index, shape, Math.Min(shape.Count, row.DraftTokens), _places.Count, _innerNodes.Count, _paths.Paths.Length);
        for (int node = 0; node <= tree.Count; node++) _places.Add(-1);
        FindInner(tree);
        int kept = _paths.Add(index, row.Sequence.Table.Blocks, row.Start, row.Length, CollectionsMarshal.AsSpan(_inner));
        CollectionsMarshal.SetCount(_innerNodes, tree.FirstInner + 1 + kept);
        _trees.Add(tree);
        WantChildren(tree, row.Sequence, 0);
    }

    /// <summary>Lists the nodes of a tree that have children, as a tree of their own.</summary>
    private void FindInner(in Tree tree)
    {
        _inner.Clear();
        CollectionsMarshal.SetCount(_innerNumbers, tree.Count + 1);
        Span<int> numbers = CollectionsMarshal.AsSpan(_innerNumbers);
        numbers.Fill(-1);
        for (int node = 1; node <= tree.Count; node++) numbers[tree.Shape.Parent(node)] = 0;
        for (int node = 0, next = 0; node <= tree.Count; node++)
        {
            if (numbers[node] < 0) continue;
            if (node > 0) _inner.Add(new DraftNode(numbers[tree.Shape.Parent(node)], 0, -1));
            _innerNodes.Add(node);
            numbers[node] = next++;
        }
    }

    /// <summary>Adds the nodes of a level that are to have children; false when there is none.</summary>
    private bool AddLevel(StepPlan plan, int depth)
    {
        _model.BeginPass();
        int next = 0;
        for (int i = 0; i < _trees.Count; i++)
        {
            PlanRow row = plan.Rows[_trees[i].Row];
            int origin = row.Start + row.Length - 1;
            for (; next < _paths.Paths.Length && _paths.Paths[next].Row == _trees[i].Row; next++)
            {
                DraftPath path = _paths.Paths[next];
                int first = next == _trees[i].FirstPath ? 0 : path.Start - origin;
                if (depth >= first && depth < first + path.Nodes.Count) AddNode(_trees[i], row.Sequence, path, origin, depth, depth - first);
            }
        }
        return _model.Wanted > 0;
    }

    private void AddNode(in Tree tree, Sequence sequence, in DraftPath path, int origin, int depth, int index)
    {
        if (index == 0)
        {
            _model.AddMoves(_paths.Forks.Slice(path.Forks.First, path.Forks.Count));
            _model.AddMoves(_paths.Copies.Slice(path.Copies.First, path.Copies.Count));
        }
        int node = _innerNodes[tree.FirstInner + _paths.NodesOf(path)[index]];
        _model.AddNode(_paths.BlocksOf(path), origin + depth, SourceOf(tree, node));
        WantChildren(tree, sequence, node);
    }

    private void WantChildren(in Tree tree, Sequence sequence, int node)
    {
        _places[tree.FirstNode + node] = _proposals + _model.Wanted * _branches;
        _model.WantNext(sequence, tree.Shape.Depth(node));
    }

    /// <summary>Runs the pass. The tokens that it ranks follow those of the passes before.</summary>
    private void RankChildren()
    {
        int count = _model.Wanted * _branches;
        DeviceSpan<int> ranked = _ranked.AsSpan<int>().Slice(0, count), tokens = _tokens.AsSpan<int>();
        _model.Run(tokens.Slice(0, _proposals), ranked);
        _operators.Gather(_vocabulary.AsSpan<int>(), ranked, tokens.Slice(_proposals, count));
        _proposals += count;
    }

    private int SourceOf(in Tree tree, int node) => _places[tree.FirstNode + tree.Shape.Parent(node)] + tree.Shape.Rank(node);

    private void Describe(StepPlan plan, DraftBatch drafts)
    {
        drafts.Proposals = _tokens.AsSpan<int>().Slice(0, _proposals);
        (drafts.Passes, drafts.PassTokens) = (_model.Passes, _model.QueryTokens);
        int next = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            drafts.BeginRow();
            if (next == _trees.Count || _trees[next].Row != i) continue;
            Tree tree = _trees[next++];
            _numbers.Add(0);
            for (int node = 1; node <= tree.Count; node++)
            {
                int parent = tree.FirstNode + tree.Shape.Parent(node);
                _numbers.Add(_places[parent] < 0 ? -1 : drafts.AddProposal(_numbers[parent], SourceOf(tree, node)));
            }
        }
    }

    private static DeviceBuffer Filled(Device device, int[] values)
    {
        DeviceBuffer buffer = device.Allocate(DType.I32, values.Length);
        buffer.AsSpan<int>().CopyFrom(values);
        return buffer;
    }

    /// <summary>Most nodes of a level that have children: as many nodes again are children of theirs.</summary>
    private static int MostRanked(SpeculationOptions options, int maxTokens, int rows) =>
        Math.Min(maxTokens, rows * Math.Max(1, options.LongestDraft * options.Branches / 2));

    private static int MostProposals(SpeculationOptions options, int maxTokens, int rows) =>
        (rows + Math.Min(maxTokens, rows * options.LongestDraft * options.Branches)) * options.Branches;

    /// <summary>What is drafted for a row of the plan.</summary>
    /// <param name="Row">Its number.</param>
    /// <param name="Shape">Its tree.</param>
    /// <param name="Count">Drafted nodes, the first ones of the shape.</param>
    /// <param name="FirstNode">Where its nodes begin in lists by node.</param>
    /// <param name="FirstInner">Where its nodes with children begin in the list of these.</param>
    /// <param name="FirstPath">Its path in the blocks of the sequence.</param>
    private readonly record struct Tree(int Row, TreeShape Shape, int Count, int FirstNode, int FirstInner, int FirstPath);
}
