using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// The drafted tokens of a step: for every row of the plan a tree below the row's last token, parents before children. A chain is a tree in which every node
/// follows the one before.
/// </summary>
public sealed class DraftBatch
{
    private readonly List<DraftNode> _nodes = [];
    private readonly List<int> _rowStarts = [], _accepted = [], _acceptedStarts = [];

    /// <summary>Drafted tokens of all rows.</summary>
    public int Count => _nodes.Count;

    /// <summary>Token ids that were drafted on the device and are not known on the host; nodes point into it. Valid until the next step.</summary>
    public DeviceSpan<int> Proposals { get; set; }

    /// <summary>
    /// F32 [proposals, vocabulary]: the logits that each proposal was drawn from, for rejection sampling; empty when the drafter does not keep them.
    /// </summary>
    public DeviceMatrix Logits { get; set; }

    /// <summary>Passes of a draft model that the drafts took; 0 where there is none.</summary>
    public int Passes { get; set; }

    /// <summary>Query tokens of these passes.</summary>
    public int PassTokens { get; set; }

    /// <summary>Forgets the last step.</summary>
    public void Clear()
    {
        Passes = 0;
        PassTokens = 0;
        _nodes.Clear();
        _rowStarts.Clear();
        _accepted.Clear();
        _acceptedStarts.Clear();
        Proposals = default;
        Logits = default;
    }

    /// <summary>Begins the next row; rows come in the plan's order, those without drafts too.</summary>
    public void BeginRow() => _rowStarts.Add(_nodes.Count);

    /// <summary>Adds a token to the row begun last and returns its node.</summary>
    /// <param name="parent">Node it follows: 0 for the last token of the sequence.</param>
    /// <param name="token">Its id.</param>
    public int Add(int parent, int token) => Add(new DraftNode(parent, token, -1));

    /// <summary>Adds a token that is known on the device only and returns its node.</summary>
    /// <param name="parent">Node it follows: 0 for the last token of the sequence.</param>
    /// <param name="source">Its place among <see cref="Proposals"/>.</param>
    public int AddProposal(int parent, int source) => Add(new DraftNode(parent, 0, source));

    /// <summary>Nodes 1, 2, ... of a row. The span is valid until a node is added.</summary>
    public ReadOnlySpan<DraftNode> Nodes(int row)
    {
        int end = row + 1 < _rowStarts.Count ? _rowStarts[row + 1] : _nodes.Count;
        return CollectionsMarshal.AsSpan(_nodes)[_rowStarts[row]..end];
    }

    /// <summary>Drafted nodes on the longest path of a row.</summary>
    public int DepthOf(int row)
    {
        ReadOnlySpan<DraftNode> nodes = Nodes(row);
        int most = 0;
        for (int last = nodes.Length; last > most; last--) // a node has at least as many before it as above it
        {
            int depth = 0;
            for (int node = last; node > 0; node = nodes[node - 1].Parent) depth++;
            most = Math.Max(most, depth);
        }
        return most;
    }

    /// <summary>
    /// Nodes of a row whose next token was gained, in order: node 0, then drafted nodes that were accepted. Known when drafts are observed; empty for rows that
    /// do not sample.
    /// </summary>
    public ReadOnlySpan<int> Accepted(int row)
    {
        if (row >= _acceptedStarts.Count) return [];
        int end = row + 1 < _acceptedStarts.Count ? _acceptedStarts[row + 1] : _accepted.Count;
        return CollectionsMarshal.AsSpan(_accepted)[_acceptedStarts[row]..end];
    }

    /// <summary>Drops the last drafted nodes of a row.</summary>
    internal void Truncate(int row, int count)
    {
        int start = _rowStarts[row], excess = Nodes(row).Length - count;
        _nodes.RemoveRange(start + count, excess);
        for (int later = row + 1; later < _rowStarts.Count; later++) _rowStarts[later] -= excess;
    }

    /// <summary>Says what was accepted of a row; rows come in order, those without nodes may be left out.</summary>
    internal void SetAccepted(int row, ReadOnlySpan<int> nodes)
    {
        while (_acceptedStarts.Count <= row) _acceptedStarts.Add(_accepted.Count);
        _accepted.AddRange(nodes);
    }

    private int Add(DraftNode node)
    {
        int count = _nodes.Count - _rowStarts[^1];
        if ((uint)node.Parent > (uint)count)
            throw new ArgumentException($"DraftBatch: a node follows node {node.Parent}; the row has nodes 0 to {count}.");
        _nodes.Add(node);
        return count + 1;
    }
}
