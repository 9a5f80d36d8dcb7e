namespace KernelForge.Inference;

/// <summary>
/// Compact prefix tree of all prompts of a job, in whole blocks. Its leaves are sequences, one per sample; a node is a prefix of two sequences or more after
/// which they part or end. Node 0 is the root, the empty prefix; parents come before their children.
/// </summary>
/// <remarks>
/// Only blocks below the last token of a prompt count: the last token is always computed, so a block that holds it is never shared. Sequences are put in
/// places so that those below a node are neighbours.
/// </remarks>
internal sealed class PromptTree(int blockSize, List<int> parents, List<int> depths, List<int> starts, List<int> ends, int[] sequences, int[] nodes)
{
    public const int Root = 0;

    private readonly int[] _parents = [.. parents], _depths = [.. depths], _starts = [.. starts], _ends = [.. ends];

    public int BlockSize { get; } = blockSize;

    public int NodeCount => _parents.Length;

    public int SequenceCount => sequences.Length;

    /// <summary>The node before, -1 for the root.</summary>
    public int Parent(int node) => _parents[node];

    /// <summary>Blocks from the root through a node.</summary>
    public int Depth(int node) => _depths[node];

    /// <summary>Tokens of a node's own blocks, those that its parent does not have.</summary>
    public int OwnTokens(int node) => node == Root ? 0 : (_depths[node] - _depths[_parents[node]]) * BlockSize;

    /// <summary>Leading blocks of a prompt that another sequence may share.</summary>
    public int SharableBlocks(Request request) => (request.PromptTokenIds.Length - 1) / BlockSize;

    /// <summary>First place below a node.</summary>
    public int Start(int node) => _starts[node];

    /// <summary>The place after the last one below a node.</summary>
    public int End(int node) => _ends[node];

    /// <summary>Sequences below a node.</summary>
    public int Leaves(int node) => _ends[node] - _starts[node];

    /// <summary>Sequences by place.</summary>
    public ReadOnlySpan<int> Sequences => sequences;

    /// <summary>The deepest node that a sequence is below.</summary>
    public int NodeOf(int sequence) => nodes[sequence];

    /// <summary>The node on a sequence's way that a block of its table belongs to; -1 when no other sequence has the block.</summary>
    public int NodeAt(int sequence, int block)
    {
        int node = nodes[sequence];
        if (block >= _depths[node]) return -1;
        while (block < _depths[_parents[node]]) node = _parents[node];
        return node;
    }

    /// <summary>
    /// The same tree with other places: what is below a node goes by key, largest first, equal keys by the first sequence. Nodes are numbered in that order
    /// too, each before what is below it.
    /// </summary>
    public PromptTree Sorted(ReadOnlySpan<double> nodeKeys, ReadOnlySpan<double> sequenceKeys)
    {
        Child[] children = ListChildren(nodeKeys, sequenceKeys);
        var firsts = new int[NodeCount + 1]; // children of a node are children[firsts[node]..firsts[node + 1]]
        foreach (ref readonly Child child in children.AsSpan()) firsts[child.Parent + 1]++;
        for (int node = 0; node < NodeCount; node++) firsts[node + 1] += firsts[node];
        return Walk(children, firsts);
    }

    private Child[] ListChildren(ReadOnlySpan<double> nodeKeys, ReadOnlySpan<double> sequenceKeys)
    {
        var firstSequences = new int[NodeCount];
        Array.Fill(firstSequences, int.MaxValue);
        for (int i = 0; i < SequenceCount; i++) firstSequences[nodes[i]] = Math.Min(firstSequences[nodes[i]], i);
        for (int node = NodeCount - 1; node > Root; node--)
            firstSequences[_parents[node]] = Math.Min(firstSequences[_parents[node]], firstSequences[node]);

        var children = new Child[NodeCount - 1 + SequenceCount];
        for (int node = 1; node < NodeCount; node++) children[node - 1] = new Child(_parents[node], nodeKeys[node], firstSequences[node], node);
        for (int i = 0; i < SequenceCount; i++) children[NodeCount - 1 + i] = new Child(nodes[i], sequenceKeys[i], i, ~i);
        Array.Sort(children, static (a, b) =>
        {
            int byParent = a.Parent.CompareTo(b.Parent);
            int byKey = byParent != 0 ? byParent : b.Key.CompareTo(a.Key);
            return byKey != 0 ? byKey : a.First.CompareTo(b.First);
        });
        return children;
    }

    private PromptTree Walk(Child[] children, int[] firsts)
    {
        List<int> parents = new(NodeCount), depths = new(NodeCount), starts = new(NodeCount), ends = new(NodeCount);
        int[] sequences = new int[SequenceCount], nodesOf = new int[SequenceCount];
        int place = 0;
        var open = new Stack<(int Node, int Number, int Child)>();
        Enter(Root, -1);
        while (open.TryPop(out (int Node, int Number, int Child) at))
        {
            if (at.Child == firsts[at.Node + 1])
            {
                ends[at.Number] = place;
                continue;
            }
            open.Push((at.Node, at.Number, at.Child + 1));
            int id = children[at.Child].Id;
            if (id >= 0)
            {
                Enter(id, at.Number);
                continue;
            }
            nodesOf[~id] = at.Number;
            sequences[place++] = ~id;
        }
        return new PromptTree(BlockSize, parents, depths, starts, ends, sequences, nodesOf);

        void Enter(int node, int parent)
        {
            open.Push((node, parents.Count, firsts[node]));
            parents.Add(parent);
            depths.Add(_depths[node]);
            starts.Add(place);
            ends.Add(place);
        }
    }

    /// <summary>A node or, as its complement, a sequence; and what it is sorted by.</summary>
    private readonly record struct Child(int Parent, double Key, int First, int Id);
}
