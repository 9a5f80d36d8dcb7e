namespace KernelForge.Inference;

/// <summary>
/// The published rule that makes a tree of one level (BatchLLM, arXiv:2412.03594): from the leaves up, a grandchild moves up beside its parent, with a copy of
/// its parent's tokens, where that saves tokens. For comparison with the exact choice.
/// </summary>
/// <remarks><code>gain = (leaves(grandchild) - 1)·|grandchild| - |child|</code></remarks>
internal sealed class GreedyPrefixGroups
{
    private readonly List<int>[] _children;
    private readonly int[] _terminals, _leaves, _own; // own: blocks

    private GreedyPrefixGroups(PromptTree tree)
    {
        _children = new List<int>[tree.NodeCount];
        (_terminals, _leaves, _own) = (new int[tree.NodeCount], new int[tree.NodeCount], new int[tree.NodeCount]);
        for (int node = 0; node < tree.NodeCount; node++)
        {
            _children[node] = [];
            _leaves[node] = tree.Leaves(node);
            _terminals[node] += tree.Leaves(node);
            _own[node] = tree.OwnTokens(node) / tree.BlockSize;
            if (node == PromptTree.Root) continue;
            _children[tree.Parent(node)].Add(node);
            _terminals[tree.Parent(node)] -= tree.Leaves(node);
        }
    }

    /// <summary>Tokens that the groups of the first level share after the pass.</summary>
    public static long SharedTokens(PromptTree tree)
    {
        var groups = new GreedyPrefixGroups(tree);
        for (int node = tree.NodeCount - 1; node >= PromptTree.Root; node--) groups.Enlarge(node);
        return groups._children[PromptTree.Root].Sum(child => (groups._leaves[child] - 1L) * groups._own[child]) * tree.BlockSize;
    }

    private void Enlarge(int node)
    {
        foreach (int child in _children[node].ToArray())
        {
            List<int> grandchildren = _children[child];
            int kept = 0, next = 0;
            while (next < grandchildren.Count && kept + grandchildren.Count - next + _terminals[child] > 1)
            {
                int grandchild = grandchildren[next++];
                if ((_leaves[grandchild] - 1L) * _own[grandchild] - _own[child] > 0) Promote(grandchild, child, node);
                else grandchildren[kept++] = grandchild;
            }
            grandchildren.RemoveRange(kept, next - kept);
            if (grandchildren.Count == 1 && _terminals[child] == 0) AbsorbTheLast(child);
        }
    }

    private void Promote(int grandchild, int child, int node)
    {
        _own[grandchild] += _own[child];
        _children[node].Add(grandchild);
        _leaves[child] -= _leaves[grandchild];
    }

    /// <summary>A node with one child left becomes that child. One that is the end of a single sequence stays: it shares nothing.</summary>
    private void AbsorbTheLast(int child)
    {
        int last = _children[child][0];
        _own[child] += _own[last];
        _terminals[child] = _terminals[last];
        _children[child] = _children[last];
    }
}
