namespace KernelForge.Inference;

/// <summary>
/// Which nodes a token tree has, before any of its tokens is known: each is the child of a certain rank (0: the most likely token) of another. Nodes come in order
/// of falling chance to be accepted, so the first n drafted nodes of a shape are the best tree of n nodes (ProPD, arXiv:2402.13485; EAGLE-2, arXiv:2406.16858).
/// Nodes are numbered as in <see cref="DraftBatch"/>: node 0 is the last token of the sequence, a parent comes before its children, a child before those of
/// higher rank.
/// </summary>
public sealed class TreeShape
{
    private readonly List<int> _parents = [-1], _ranks = [0], _depths = [0];
    private readonly List<double> _chances = [1];

    private TreeShape()
    {
    }

    /// <summary>Drafted nodes: all but node 0.</summary>
    public int Count => _parents.Count - 1;

    /// <summary>Drafted nodes on the longest path of the first <paramref name="count"/> drafted nodes.</summary>
    public int DepthOf(int count)
    {
        int depth = 0;
        for (int node = 1; node <= count; node++) depth = Math.Max(depth, _depths[node]);
        return depth;
    }

    /// <summary>Node that a node follows; -1 for node 0.</summary>
    public int Parent(int node) => _parents[node];

    /// <summary>How many of its siblings are more likely.</summary>
    public int Rank(int node) => _ranks[node];

    /// <summary>Drafted nodes on the way from node 0 to it, itself included.</summary>
    public int Depth(int node) => _depths[node];

    /// <summary>Estimated chance that it is accepted: the product of acceptances along its path. Their sum over drafted nodes is the tokens that are gained by drafting.</summary>
    public double Chance(int node) => _chances[node];

    /// <summary>The tree with the largest expected number of accepted tokens.</summary>
    /// <param name="acceptance">
    /// By rank: the chance that this child of an accepted node is accepted, in [0, 1]. A rank counts as at most as likely as those before it. As many ranks as a
    /// node may have children.
    /// </param>
    /// <param name="maxDepth">Most drafted nodes of a path.</param>
    /// <param name="maxNodes">Most drafted nodes. There are fewer where the depth does not allow more or all others have no chance.</param>
    public static TreeShape Best(ReadOnlySpan<float> acceptance, int maxDepth, int maxNodes)
    {
        var shape = new TreeShape();
        Span<double> falling = stackalloc double[acceptance.Length];
        for (int rank = 0; rank < falling.Length; rank++) falling[rank] = Math.Min(acceptance[rank], rank == 0 ? 1 : falling[rank - 1]);
        Span<int> children = stackalloc int[maxNodes + 1];
        while (shape.Count < maxNodes && shape.AddBest(falling, children, maxDepth)) { }
        return shape;
    }

    /// <summary>Adds the most likely node that is not there; of equally likely ones that with the earliest parent. False when none has a chance.</summary>
    private bool AddBest(ReadOnlySpan<double> acceptance, Span<int> children, int maxDepth)
    {
        int best = -1;
        double chance = 0;
        for (int node = 0; node <= Count; node++)
        {
            if (_depths[node] == maxDepth || children[node] == acceptance.Length) continue;
            double candidate = _chances[node] * acceptance[children[node]];
            if (candidate > chance) (best, chance) = (node, candidate);
        }
        if (best < 0) return false;
        _parents.Add(best);
        _ranks.Add(children[best]++);
        _depths.Add(_depths[best] + 1);
        _chances.Add(chance);
        return true;
    }
}
