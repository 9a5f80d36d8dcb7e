namespace KernelForge.Inference;

/// <summary>
/// Chooses the nodes of a tree that become groups, exactly. One level: each sequence shares the depth of its deepest open node, an open node is computed once
/// from the root; several levels: an open node goes on from the open one above it.
/// </summary>
/// <remarks>
/// A dynamic program over pairs of a node and the open node above it. With a the depth of that one, D the depth of node v:
/// <code>
/// f(v, a) = max(closed, open)
/// one level:       closed = Σ f(c, a) + terminals(v)·a          open = -D + Σ f(c, D) + terminals(v)·D
/// several levels:  closed = Σ f(c, a)                           open = (leaves(v) - 1)·(D - a) - cost(v) + Σ f(c, D)
/// </code>
/// Pairs are never more than the blocks of all prompts, since a node at level l has a leaf of its own with l blocks or more.
/// </remarks>
internal sealed class PrefixGroups
{
    private readonly PromptTree _tree;
    private readonly Func<int, int, double>? _levelCost;
    private readonly bool _oneLevel;
    private readonly int[] _levels, _terminals, _offsets;
    private readonly bool[] _opens; // by node and level of the open node above it
    private readonly List<double[]> _sums = []; // of f over the children of the node at each level, by level of the open node above it

    private PrefixGroups(PromptTree tree, bool oneLevel, Func<int, int, double>? levelCost)
    {
        (_tree, _oneLevel, _levelCost) = (tree, oneLevel, levelCost);
        (_levels, _terminals, _offsets) = (new int[tree.NodeCount], new int[tree.NodeCount], new int[tree.NodeCount + 1]);
        for (int node = 0; node < tree.NodeCount; node++)
        {
            _levels[node] = node == PromptTree.Root ? 0 : _levels[tree.Parent(node)] + 1;
            _offsets[node + 1] = checked(_offsets[node] + _levels[node]);
            _terminals[node] += tree.Leaves(node);
            if (node != PromptTree.Root) _terminals[tree.Parent(node)] -= tree.Leaves(node);
        }
        _opens = new bool[_offsets[^1]];
    }

    /// <summary>Every shared prefix, or those that are worth their cost.</summary>
    /// <param name="tree">A sorted tree.</param>
    /// <param name="firsts">First sequence of each request.</param>
    /// <param name="levelCost">Cost in tokens by sequences and tokens; null for none.</param>
    public static PrefixGrouping MultiLevel(PromptTree tree, ReadOnlySpan<int> firsts, Func<int, int, double>? levelCost)
    {
        var groups = new PrefixGroups(tree, oneLevel: false, levelCost);
        if (levelCost is null) Array.Fill(groups._opens, true);
        else groups.Choose();
        return groups.Collect(firsts);
    }

    /// <summary>The best choice when a sequence has one group at most.</summary>
    public static PrefixGrouping OneLevel(PromptTree tree, ReadOnlySpan<int> firsts)
    {
        var groups = new PrefixGroups(tree, oneLevel: true, levelCost: null);
        groups.Choose();
        return groups.Collect(firsts);
    }

    /// <summary>Tokens shared when every distinct block is computed once.</summary>
    public static long UnrestrictedTokens(PromptTree tree)
    {
        long tokens = 0;
        for (int node = 1; node < tree.NodeCount; node++) tokens += (tree.Leaves(node) - 1L) * tree.OwnTokens(node);
        return tokens;
    }

    /// <summary>Tokens shared by the children of the root alone.</summary>
    public static long FirstLevelTokens(PromptTree tree)
    {
        long tokens = 0;
        for (int node = 1; node < tree.NodeCount; node++)
            if (tree.Parent(node) == PromptTree.Root) tokens += (tree.Leaves(node) - 1L) * tree.OwnTokens(node);
        return tokens;
    }

    private void Choose()
    {
        var depths = new double[1 + _levels.Max()]; // of the nodes above, in tokens
        for (int node = _tree.NodeCount - 1; node > PromptTree.Root; node--)
        {
            int level = _levels[node];
            for ((int above, int l) = (node, level); l >= 0; (above, l) = (_tree.Parent(above), l - 1)) depths[l] = TokensOf(above);
            double[] sums = SumsAt(level), parentSums = SumsAt(level - 1);
            for (int above = 0; above < level; above++)
            {
                double closed = sums[above] + Terminals(node, depths[above]);
                double open = OpenGain(node, depths[above], depths[level]) + sums[level] + Terminals(node, depths[level]);
                _opens[_offsets[node] + above] = open > closed;
                parentSums[above] += Math.Max(open, closed);
            }
            sums.AsSpan().Clear(); // for the next node at this level: nodes come from the last to the first
        }
    }

    private double Terminals(int node, double depth) => _oneLevel ? _terminals[node] * depth : 0;

    private double OpenGain(int node, double above, double depth) => _oneLevel
        ? -depth
        : (_tree.Leaves(node) - 1) * (depth - above) - _levelCost!(_tree.Leaves(node), (int)(depth - above));

    private double[] SumsAt(int level)
    {
        while (_sums.Count <= level) _sums.Add(new double[_sums.Count + 1]);
        return _sums[level];
    }

    private PrefixGrouping Collect(ReadOnlySpan<int> firsts)
    {
        var openNodes = new int[_tree.NodeCount]; // the deepest open one at or above each node, the root for none
        var groupOf = new int[_tree.NodeCount];
        var groups = new List<PrefixGroup>();
        groupOf[PromptTree.Root] = -1;
        long shared = 0;
        for (int node = 1; node < _tree.NodeCount; node++)
        {
            int above = openNodes[_tree.Parent(node)], parent = groupOf[above];
            bool opens = _opens[_offsets[node] + _levels[above]];
            openNodes[node] = opens ? node : above;
            groupOf[node] = opens ? groups.Count : parent;
            if (!opens) continue;

            groups.Add(new PrefixGroup(TokensOf(node), _tree.Leaves(node), _oneLevel ? -1 : parent));
            if (!_oneLevel) shared += (_tree.Leaves(node) - 1L) * (TokensOf(node) - TokensOf(above));
        }
        PrefixGroup[] found = [.. groups];
        if (_oneLevel) shared = CountOwnMembers(found, groupOf);

        var ofRequests = new int[firsts.Length];
        for (int i = 0; i < firsts.Length; i++) ofRequests[i] = groupOf[_tree.NodeOf(firsts[i])];
        return new PrefixGrouping(found, ofRequests, shared);
    }

    private long CountOwnMembers(PrefixGroup[] groups, int[] groupOf)
    {
        for (int i = 0; i < groups.Length; i++) groups[i] = groups[i] with { Members = 0 };
        for (int node = 1; node < _tree.NodeCount; node++)
            if (groupOf[node] is >= 0 and int group) groups[group] = groups[group] with { Members = groups[group].Members + _terminals[node] };
        return groups.Sum(static group => (group.Members - 1L) * group.PrefixTokens);
    }

    private int TokensOf(int node) => _tree.Depth(node) * _tree.BlockSize;
}
