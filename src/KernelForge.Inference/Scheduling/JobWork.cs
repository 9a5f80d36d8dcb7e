namespace KernelForge.Inference;

/// <summary>What the sequences below a node compute and read when its prefix is computed once.</summary>
/// <param name="Outputs">Tokens they generate.</param>
/// <param name="PromptTokens">Prompt tokens to compute, shared ones once.</param>
/// <param name="KvReads">Tokens whose KV is read while they decode: p·d + d²/2 for each with p prompt and d output tokens.</param>
internal readonly record struct Work(double Outputs, double PromptTokens, double KvReads)
{
    public static Work operator +(Work a, Work b) => new(a.Outputs + b.Outputs, a.PromptTokens + b.PromptTokens, a.KvReads + b.KvReads);
}

/// <summary>The work of a planned job, node by node.</summary>
internal sealed class JobWork
{
    private readonly Work[] _nodes, _sequences;

    public JobWork(PromptTree tree, ReadOnlySpan<Request> requests, ReadOnlySpan<double> outputs)
    {
        _nodes = new Work[tree.NodeCount];
        _sequences = new Work[tree.SequenceCount];
        for (int i = 0; i < _sequences.Length; i++)
        {
            int node = tree.NodeOf(i), prompt = requests[i].PromptTokenIds.Length;
            _sequences[i] = new Work(outputs[i], prompt - tree.Depth(node) * tree.BlockSize, outputs[i] * (prompt + outputs[i] / 2));
            _nodes[node] += _sequences[i];
        }
        for (int node = tree.NodeCount - 1; node > PromptTree.Root; node--)
        {
            _nodes[node] += new Work(0, tree.OwnTokens(node), 0);
            _nodes[tree.Parent(node)] += _nodes[node];
        }
    }

    /// <summary>The work below a node, its own blocks included.</summary>
    public Work Node(int node) => _nodes[node];

    /// <summary>The work of one sequence beyond the prefix that it shares.</summary>
    public Work Sequence(int sequence) => _sequences[sequence];
}
