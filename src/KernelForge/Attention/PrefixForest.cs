using System.Numerics;
using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>A longest run of blocks that the same sequences read. Node 0 is the root: all sequences, no blocks.</summary>
/// <param name="Parent">Node whose blocks come before; -1 of the root.</param>
/// <param name="Depth">Nodes on the way from the root, which has 0.</param>
/// <param name="First">Its sequences are Order[First .. First + Count - 1].</param>
/// <param name="Count">Sequences that read it.</param>
/// <param name="End">Blocks from the start of a sequence to its end.</param>
internal readonly record struct PrefixNode(int Parent, int Depth, int First, int Count, int End);

/// <summary>
/// What the sequences of a step share, from their block tables: a forest of runs of blocks with the same readers. Equal ids count where all ids before them
/// are equal too. Only blocks that lie wholly inside of the context are looked at.
/// </summary>
internal sealed class PrefixForest
{
    /// <summary>Nodes on a path; what is common deeper is not found.</summary>
    public const int MaxDepth = 64;

    private readonly List<PrefixNode> _nodes = [];
    private readonly List<int> _order = [], _nodeOf = [], _grouped = [], _groupOf = [], _groupSizes = [];
    private readonly BlockIndex _index = new();

    /// <summary>Parents before their children.</summary>
    public ReadOnlySpan<PrefixNode> Nodes => CollectionsMarshal.AsSpan(_nodes);

    /// <summary>The sequences that have query tokens, depth first: those of a node are neighbours.</summary>
    public ReadOnlySpan<int> Order => CollectionsMarshal.AsSpan(_order);

    /// <summary>The deepest node of each sequence of <see cref="Order"/>.</summary>
    public ReadOnlySpan<int> NodeOf => CollectionsMarshal.AsSpan(_nodeOf);

    public void Build(in AttentionStep step, int blockSize, bool findsPrefixes)
    {
        _nodes.Clear();
        _order.Clear();
        _nodeOf.Clear();
        for (int s = 0; s < step.Sequences; s++)
        {
            if (step.Length(s) == 0) continue;
            _order.Add(s);
            _nodeOf.Add(0);
        }
        _nodes.Add(new PrefixNode(-1, 0, 0, _order.Count, 0));
        if (!findsPrefixes) return;
        for (int node = 0; node < _nodes.Count; node++) // grows meanwhile
            if (_nodes[node].Depth < MaxDepth) AddChildren(node, step, blockSize);
    }

    /// <summary>Brings the sequences of a node together that go on with the same block; two or more of them are a new node.</summary>
    private void AddChildren(int parent, in AttentionStep step, int blockSize)
    {
        PrefixNode node = _nodes[parent];
        Span<int> sequences = CollectionsMarshal.AsSpan(_order).Slice(node.First, node.Count);
        Group(sequences, step, node.End, blockSize);
        int first = 0;
        foreach (int count in _groupSizes)
        {
            if (count > 1)
            {
                Span<int> readers = sequences.Slice(first, count);
                CollectionsMarshal.AsSpan(_nodeOf).Slice(node.First + first, count).Fill(_nodes.Count);
                _nodes.Add(new PrefixNode(parent, node.Depth + 1, node.First + first, count, CommonEnd(readers, step, node.End, blockSize)));
            }
            first += count;
        }
    }

    /// <summary>Orders sequences by their block at an index, in the order of first appearance; one that has none is a group by itself.</summary>
    private void Group(Span<int> sequences, in AttentionStep step, int index, int blockSize)
    {
        _groupSizes.Clear();
        _index.Clear(sequences.Length);
        CollectionsMarshal.SetCount(_groupOf, sequences.Length);
        Span<int> groupOf = CollectionsMarshal.AsSpan(_groupOf);
        for (int i = 0; i < sequences.Length; i++)
        {
            int s = sequences[i], group = _groupSizes.Count;
            bool goesOn = index < step.ContextLengths[s] / blockSize;
            if (goesOn) group = _index.GetOrAdd(step.BlockTables[step.BlockOffsets[s] + index], group);
            if (group == _groupSizes.Count) _groupSizes.Add(0);
            CollectionsMarshal.AsSpan(_groupSizes)[group]++;
            groupOf[i] = group;
        }
        if (_groupSizes.Count > 1) Scatter(sequences);
    }

    private void Scatter(Span<int> sequences)
    {
        CollectionsMarshal.SetCount(_grouped, sequences.Length + _groupSizes.Count);
        Span<int> grouped = CollectionsMarshal.AsSpan(_grouped)[..sequences.Length], next = CollectionsMarshal.AsSpan(_grouped)[sequences.Length..];
        for (int group = 0, start = 0; group < next.Length; start += _groupSizes[group++]) next[group] = start;
        ReadOnlySpan<int> groupOf = CollectionsMarshal.AsSpan(_groupOf);
        for (int i = 0; i < sequences.Length; i++) grouped[next[groupOf[i]]++] = sequences[i];
        grouped.CopyTo(sequences);
    }

    private static int CommonEnd(ReadOnlySpan<int> readers, in AttentionStep step, int start, int blockSize)
    {
        ReadOnlySpan<int> common = Shareable(step, readers[0], blockSize)[start..];
        foreach (int s in readers[1..]) common = common[..common.CommonPrefixLength(Shareable(step, s, blockSize)[start..])];
        return start + common.Length;
    }

    private static ReadOnlySpan<int> Shareable(in AttentionStep step, int sequence, int blockSize) =>
        step.BlockTables.Slice(step.BlockOffsets[sequence], step.ContextLengths[sequence] / blockSize);

    /// <summary>From block ids to small numbers: open addressing, cleared by a new stamp.</summary>
    private sealed class BlockIndex
    {
        private (int Stamp, int Block, int Value)[] _entries = new (int, int, int)[64];
        private int _stamp;

        public void Clear(int atMost)
        {
            if (atMost > _entries.Length / 2) _entries = new (int, int, int)[BitOperations.RoundUpToPowerOf2((uint)atMost * 2)];
            if (++_stamp != int.MaxValue) return;
            Array.Clear(_entries);
            _stamp = 1;
        }

        /// <summary>The value of a block, which is <paramref name="value"/> if it had none.</summary>
        public int GetOrAdd(int block, int value)
        {
            uint mask = (uint)_entries.Length - 1;
            for (uint i = (uint)block * 0x9E3779B9u >> 7; ; i++)
            {
                ref (int Stamp, int Block, int Value) entry = ref _entries[i & mask];
                if (entry.Stamp != _stamp) entry = (_stamp, block, value);
                if (entry.Block == block) return entry.Value;
            }
        }
    }
}
