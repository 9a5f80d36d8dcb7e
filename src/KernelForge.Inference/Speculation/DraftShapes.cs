namespace KernelForge.Inference;

/// <summary>
/// Shapes of the trees to draft, one for each draft length. They follow what is accepted: for every rank a moving average says how often that child of an
/// accepted node was accepted (ProPD, arXiv:2402.13485).
/// </summary>
internal sealed class DraftShapes
{
    /// <summary>Weight of one more trial in a moving average.</summary>
    private const float Rate = 1 / 64f;

    /// <summary>Trials after which shapes are made anew.</summary>
    private const int TrialsPerShape = 256;

    private readonly float[] _acceptance;
    private readonly TreeShape?[] _shapes;
    private readonly int _nodesPerToken;
    private int _trials;

    /// <param name="branches">Most children of a node.</param>
    /// <param name="nodesPerToken">Nodes of a tree for each token of its draft length.</param>
    /// <param name="maxLength">Longest draft.</param>
    public DraftShapes(int branches, int nodesPerToken, int maxLength)
    {
        (_nodesPerToken, _shapes) = (nodesPerToken, new TreeShape[maxLength + 1]);
        _acceptance = new float[branches];
        for (int rank = 0; rank < branches; rank++) _acceptance[rank] = 0.6f / (1 << (2 * rank)); // until measured; high, so that every rank is tried
    }

    /// <summary>Estimated acceptance by rank.</summary>
    public ReadOnlySpan<float> Acceptance => _acceptance;

    /// <summary>The tree for a draft of that length; a row with fewer draft tokens takes its first nodes.</summary>
    public TreeShape OfLength(int length) => _shapes[length] ??= TreeShape.Best(_acceptance, length, length * _nodesPerToken);

    /// <summary>Learns from a verified tree. A node's rank is its place among its siblings.</summary>
    /// <param name="nodes">Nodes 1, 2, ...</param>
    /// <param name="path">The accepted ones, from node 0 on.</param>
    public void Observe(ReadOnlySpan<DraftNode> nodes, ReadOnlySpan<int> path)
    {
        for (int i = 0; i < path.Length; i++) ObserveChildren(nodes, path[i], i + 1 < path.Length ? path[i + 1] : -1);
        if (_trials < TrialsPerShape) return;
        _trials = 0;
        Array.Clear(_shapes);
    }

    private void ObserveChildren(ReadOnlySpan<DraftNode> nodes, int parent, int accepted)
    {
        int rank = 0;
        for (int node = parent + 1; node <= nodes.Length && rank < _acceptance.Length; node++)
        {
            if (nodes[node - 1].Parent != parent) continue;
            _acceptance[rank] += Rate * ((node == accepted ? 1 : 0) - _acceptance[rank]);
            (rank, _trials) = (rank + 1, _trials + 1);
        }
    }
}
