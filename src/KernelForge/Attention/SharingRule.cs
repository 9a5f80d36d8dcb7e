using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>
/// Decides which nodes of a forest are read together. A node that is not is left to its children: they start where it would have started. Hence the cost of
/// what is below a node depends on nothing but where it starts, which is the end of one of its ancestors; a dynamic program over (node, ancestor) finds the
/// optimum.
/// </summary>
internal sealed class SharingRule(AttentionTiling tiling)
{
    private readonly AttentionCost _cost = new(tiling);
    private readonly List<bool> _isShared = [], _pays = [];
    private readonly List<int> _tables = [], _nearest = [];
    private readonly List<long> _below = [];

    /// <summary>Decides instead of the rule, by node: for tests, since no decision may change a result.</summary>
    public Func<int, bool>? Forced { get; set; }

    /// <summary>By node: whether it is to be read together.</summary>
    public Span<bool> Decide(AttentionSharing sharing, PrefixForest forest, AttentionRows rows)
    {
        CollectionsMarshal.SetCount(_isShared, forest.Nodes.Length);
        CollectionsMarshal.SetCount(_nearest, forest.Nodes.Length);
        Span<bool> isShared = CollectionsMarshal.AsSpan(_isShared);
        isShared.Fill(sharing == AttentionSharing.All);
        if (Forced is not null)
            for (int node = 0; node < isShared.Length; node++) isShared[node] = Forced(node);
        else if (sharing == AttentionSharing.Best) DecideBest(forest, rows, isShared);
        else if (sharing == AttentionSharing.Greedy) DecideGreedily(forest, rows, isShared);
        isShared[0] = false; // the root has no blocks
        return isShared;
    }

    /// <summary>
    /// Entry k of a node's table holds what costs all that is below it, if that starts at the end of the node's ancestor of depth k; the last one stands for
    /// the node itself. Children come behind their parents, so one walk backwards fills all tables, and one forwards reads the decisions.
    /// </summary>
    private void DecideBest(PrefixForest forest, AttentionRows rows, Span<bool> isShared)
    {
        ReadOnlySpan<PrefixNode> nodes = forest.Nodes;
        MakeTables(nodes);
        Span<int> tables = CollectionsMarshal.AsSpan(_tables), nearest = CollectionsMarshal.AsSpan(_nearest);
        Span<long> below = CollectionsMarshal.AsSpan(_below);
        Span<bool> pays = CollectionsMarshal.AsSpan(_pays);
        AddSequences(forest, rows, below);
        for (int node = nodes.Length - 1; node > 0; node--)
        {
            int depth = nodes[node].Depth, parent = nodes[node].Parent;
            long belowNode = below[tables[node] + depth];
            for (int k = depth - 1, ancestor = parent; k >= 0; k--, ancestor = nodes[ancestor].Parent)
            {
                long apart = below[tables[node] + k], together = belowNode + Shared(rows.Nodes[node], rows.Nodes[ancestor].End);
                pays[tables[node] + k] = together < apart;
                below[tables[parent] + k] += Math.Min(together, apart);
            }
        }

        for (int node = 1; node < nodes.Length; node++)
        {
            int start = nearest[nodes[node].Parent];
            isShared[node] = pays[tables[node] + nodes[start].Depth];
            nearest[node] = isShared[node] ? node : start;
        }
    }

    private void MakeTables(ReadOnlySpan<PrefixNode> nodes)
    {
        int length = 0;
        _tables.Clear();
        foreach (ref readonly PrefixNode node in nodes)
        {
            _tables.Add(length);
            length += node.Depth + 1;
        }
        CollectionsMarshal.SetCount(_below, length);
        CollectionsMarshal.SetCount(_pays, length);
        CollectionsMarshal.AsSpan(_below).Clear();
    }

    private void AddSequences(PrefixForest forest, AttentionRows rows, Span<long> below)
    {
        ReadOnlySpan<PrefixNode> nodes = forest.Nodes;
        ReadOnlySpan<RowRange> sequences = rows.Sequences;
        for (int i = 0; i < sequences.Length; i++)
        {
            int node = forest.NodeOf[i], table = _tables[node];
            for (int k = nodes[node].Depth, ancestor = node; k >= 0; k--, ancestor = nodes[ancestor].Parent)
                below[table + k] += Own(sequences[i], rows.Nodes[ancestor].End);
        }
    }

    /// <summary>Shares a node where that costs less than what its children and sequences, each by itself, would read more without it.</summary>
    private void DecideGreedily(PrefixForest forest, AttentionRows rows, Span<bool> isShared)
    {
        ReadOnlySpan<PrefixNode> nodes = forest.Nodes;
        Span<int> nearest = CollectionsMarshal.AsSpan(_nearest);
        int child = 1;
        while (child < nodes.Length && nodes[child].Parent == 0) child++;
        for (int node = 1; node < nodes.Length; node++)
        {
            int above = nearest[nodes[node].Parent], start = rows.Nodes[above].End, end = rows.Nodes[node].End;
            long more = 0;
            for (; child < nodes.Length && nodes[child].Parent == node; child++) // children of a node follow those of the node before
                more += Alone(rows.Nodes[child], start) - Alone(rows.Nodes[child], end);
            for (int i = nodes[node].First; i < nodes[node].First + nodes[node].Count; i++)
                if (forest.NodeOf[i] == node) more += Own(rows.Sequences[i], start) - Own(rows.Sequences[i], end);
            isShared[node] = Shared(rows.Nodes[node], start) < more;
            nearest[node] = isShared[node] ? node : above;
        }
    }

    private long Shared(RowRange range, int start)
    {
        int first = Math.Max(start, range.Low);
        return first < range.End ? _cost.Shared(range.Count, first, range.End) : long.MaxValue / 2; // nothing to share
    }

    private long Alone(RowRange range, int start) => Math.Max(start, range.Low) < range.End ? Shared(range, start) : 0;

    private long Own(RowRange range, int start) => _cost.Own(range.Count, Math.Max(start, range.Low), range.End);
}
