using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>A part of a list.</summary>
internal readonly record struct Run(int First, int Count);

/// <summary>Nodes of a tree, each the first child of the one before, that attention sees as one sequence.</summary>
/// <param name="Row">Row of the plan.</param>
/// <param name="Start">Context length: position of its first node. Of the path of node 0: of the first token of the row.</param>
/// <param name="Nodes">Its nodes among those of all paths.</param>
/// <param name="Blocks">Its blocks, up to that of its last node, among those of all paths.</param>
/// <param name="Forks">What it takes from history, among <see cref="DraftPaths.Forks"/>.</param>
/// <param name="Copies">What it takes from the pass itself, among <see cref="DraftPaths.Copies"/>.</param>
internal readonly record struct DraftPath(int Row, int Start, Run Nodes, Run Blocks, Run Forks, Run Copies);

/// <summary>
/// Token trees as sequences that share prefixes: attention needs no mask and adds in the order of plain decoding. The first child of a node goes on with the path
/// of the node, any other child begins a path of its own, a branch. The path of node 0 lies in the blocks of its sequence. A branch shares the full blocks of the
/// path that it leaves; behind them it has blocks of its own, from a reserve that each step takes anew. What the first of them holds in front of the branch is
/// copied: history before the pass (<see cref="Forks"/>), what the pass computes in each layer as soon as it is there (<see cref="Copies"/>). Works in integers.
/// </summary>
/// <param name="blockSize">Token positions in a block.</param>
/// <param name="firstReserved">First block of the reserve.</param>
/// <param name="reserved">Blocks of the reserve. A tree that needs more loses its last nodes.</param>
internal sealed class DraftPaths(int blockSize, int firstReserved, int reserved)
{
    private readonly List<DraftPath> _paths = [];
    private readonly List<int> _pathNodes = [], _blocks = [], _slots = [], _targets = [];
    private readonly List<int> _rowStarts = [0];
    private readonly List<KvMove> _forks = [], _copies = [];
    private readonly List<Node> _tree = []; // of the row that is being added
    private readonly List<int> _firstNodes = []; // of the paths of that row
    private int _taken;

    /// <summary>Paths of all rows: of each row that of node 0, then its branches.</summary>
    public ReadOnlySpan<DraftPath> Paths => CollectionsMarshal.AsSpan(_paths);

    /// <summary>Moves of history, to be made in all layers before the pass.</summary>
    public ReadOnlySpan<KvMove> Forks => CollectionsMarshal.AsSpan(_forks);

    /// <summary>Moves of what the pass computes, to be made in each layer when its keys and values are stored.</summary>
    public ReadOnlySpan<KvMove> Copies => CollectionsMarshal.AsSpan(_copies);

    /// <summary>[nodes of all rows, node 0 included] where keys and values of each node go.</summary>
    public ReadOnlySpan<int> Slots => CollectionsMarshal.AsSpan(_slots);

    /// <summary>Beside <see cref="Slots"/>: for the t-th node of a row where a chain would have its t-th node; -1 behind the blocks of the sequence.</summary>
    public ReadOnlySpan<int> Targets => CollectionsMarshal.AsSpan(_targets);

    /// <summary>[rows + 1] where the nodes of each row begin in <see cref="Slots"/>; the last one is their number.</summary>
    public ReadOnlySpan<int> RowStarts => CollectionsMarshal.AsSpan(_rowStarts);

    /// <summary>Whether any tree has a branch: without one nothing has to be moved.</summary>
    public bool HasBranches => _taken > 0;

    /// <summary>Nodes of a path in order, counted within their row.</summary>
    public ReadOnlySpan<int> NodesOf(in DraftPath path) => CollectionsMarshal.AsSpan(_pathNodes).Slice(path.Nodes.First, path.Nodes.Count);

    /// <summary>Blocks of a path in position order. The span is valid until a row is added.</summary>
    public ReadOnlySpan<int> BlocksOf(in DraftPath path) => CollectionsMarshal.AsSpan(_blocks).Slice(path.Blocks.First, path.Blocks.Count);

    /// <summary>Forgets the last step; the whole reserve is free again.</summary>
    public void Clear()
    {
        _paths.Clear();
        _pathNodes.Clear();
        _blocks.Clear();
        _slots.Clear();
        _targets.Clear();
        _forks.Clear();
        _copies.Clear();
        CollectionsMarshal.SetCount(_rowStarts, 1);
        _taken = 0;
    }

    /// <summary>Adds a row and returns how many of its drafted nodes have a place: all, or the first ones when the reserve is used up.</summary>
    /// <param name="row">Number of the row in the plan.</param>
    /// <param name="table">Blocks of the sequence.</param>
    /// <param name="start">Context length of the row.</param>
    /// <param name="length">Query length of the row; node 0 is its last token.</param>
    /// <param name="nodes">Nodes 1, 2, ...</param>
    /// <exception cref="ArgumentException">A path is longer than the blocks of the sequence.</exception>
    public int Add(int row, ReadOnlySpan<int> table, int start, int length, ReadOnlySpan<DraftNode> nodes)
    {
        var place = new RowPlace(row, start, start + length - 1, _slots.Count, _paths.Count);
        GrowTree(nodes, place.Origin, table.Length * blockSize);
        CollectionsMarshal.SetCount(_slots, place.FirstSlot + _tree.Count);
        for (int t = 0; t < _tree.Count; t++) _targets.Add(place.Origin + t < table.Length * blockSize ? SlotIn(table, place.Origin + t) : -1);

        int blocks = (place.Origin + _tree[0].Tail) / blockSize + 1;
        _blocks.AddRange(table[..blocks]);
        AddPath(place, 0, start, blocks);
        for (int path = 1; path < _firstNodes.Count; path++) AddBranch(place, _firstNodes[path], table);
        _rowStarts.Add(_slots.Count);
        return _tree.Count - 1;
    }

    /// <summary>Gives every node its path, as long as the reserve has blocks for it.</summary>
    private void GrowTree(ReadOnlySpan<DraftNode> nodes, int origin, int slots)
    {
        _tree.Clear();
        _firstNodes.Clear();
        _tree.Add(new Node(-1, 0, 0));
        _firstNodes.Add(0);
        int left = reserved - _taken;
        for (int number = 1; number <= nodes.Length; number++)
        {
            int parent = nodes[number - 1].Parent;
            Span<Node> tree = CollectionsMarshal.AsSpan(_tree);
            int depth = tree[parent].Depth + 1, position = origin + depth;
            if (position >= slots)
                throw new ArgumentException($"DraftPaths: node {number} is at position {position}; the blocks of the sequence end at {slots}.");
            bool begins = tree[parent].FirstChild > 0;
            int path = begins ? _firstNodes.Count : tree[parent].Path;
            if (path > 0 && (begins || position % blockSize == 0) && left-- == 0) return;

            if (begins) _firstNodes.Add(number);
            else tree[parent].FirstChild = number;
            if (!begins) tree[_firstNodes[path]].Tail = depth;
            _tree.Add(new Node(parent, depth, path) { Tail = depth });
        }
    }

    /// <summary>Adds the path that begins with a node and whose blocks are the last of all.</summary>
    private void AddPath(in RowPlace place, int node, int start, int blocks)
    {
        int firstNode = _pathNodes.Count;
        ReadOnlySpan<int> table = CollectionsMarshal.AsSpan(_blocks)[^blocks..];
        do
        {
            _slots[place.FirstSlot + node] = SlotIn(table, place.Origin + _tree[node].Depth);
            _pathNodes.Add(node);
            node = _tree[node].FirstChild;
        }
        while (node > 0);
        var nodes = new Run(firstNode, _pathNodes.Count - firstNode);
        _paths.Add(new DraftPath(place.Row, start, nodes, new Run(_blocks.Count - blocks, blocks), new Run(_forks.Count, 0), new Run(_copies.Count, 0)));
    }

    private void AddBranch(in RowPlace place, int node, ReadOnlySpan<int> table)
    {
        int start = place.Origin + _tree[node].Depth, shared = start / blockSize, blocks = (place.Origin + _tree[node].Tail) / blockSize + 1;
        int from = _paths[place.FirstPath + _tree[_tree[node].Parent].Path].Blocks.First;
        for (int i = 0; i < shared; i++) _blocks.Add(_blocks[from + i]);
        for (int i = shared; i < blocks; i++) _blocks.Add(firstReserved + _taken++);
        AddPath(place, node, start, blocks);
        AddMoves(place, node, table, from: shared * blockSize, _blocks[^(blocks - shared)] * blockSize);
        ref DraftPath path = ref CollectionsMarshal.AsSpan(_paths)[^1];
        path = path with
        {
            Forks = new Run(path.Forks.First, _forks.Count - path.Forks.First),
            Copies = new Run(path.Copies.First, _copies.Count - path.Copies.First),
        };
    }

    /// <summary>Copies what stands in front of a branch, from a position on, into the first block of its own.</summary>
    private void AddMoves(in RowPlace place, int node, ReadOnlySpan<int> table, int from, int firstSlot)
    {
        int position = place.Origin + _tree[node].Depth - 1;
        for (int parent = _tree[node].Parent; parent > 0 && position >= from; parent = _tree[parent].Parent, position--)
            _copies.Add(new KvMove(_slots[place.FirstSlot + parent], firstSlot + position - from));
        for (; position >= from; position--)
            (position < place.Start ? _forks : _copies).Add(new KvMove(SlotIn(table, position), firstSlot + position - from));
    }

    private int SlotIn(ReadOnlySpan<int> table, int position) => table[position / blockSize] * blockSize + position % blockSize;

    /// <param name="Row">Number in the plan.</param>
    /// <param name="Start">Context length.</param>
    /// <param name="Origin">Position of node 0.</param>
    /// <param name="FirstSlot">Of its nodes among those of all rows.</param>
    /// <param name="FirstPath">Of its paths among those of all rows.</param>
    private readonly record struct RowPlace(int Row, int Start, int Origin, int FirstSlot, int FirstPath);

    private record struct Node(int Parent, int Depth, int Path)
    {
        /// <summary>0 when it has no child.</summary>
        public int FirstChild;

        /// <summary>Of the first node of a path: depth of the last one.</summary>
        public int Tail;
    }
}
