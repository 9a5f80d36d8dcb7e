namespace KernelForge.Inference;

/// <summary>
/// Makes a <see cref="PromptTree"/>. Of sequences that begin alike the middle one is compared with each of the others from where they are known to be equal;
/// they are then sorted by where they part from it and by the token they go on with, and each run of equal ones is treated alike.
/// </summary>
/// <remarks>
/// Tokens are compared several at a time and about once each, and nothing is kept per token: time grows with the tokens, n log n sequences are sorted, memory
/// grows with the sequences alone.
/// </remarks>
internal sealed class PromptTreeBuilder
{
    private const int CancellationInterval = 1024; // sequences
    private const int TokenBits = 33; // of a key: a token id plus 1
    private const ulong TokenMask = (1UL << TokenBits) - 1;

    private readonly int[][] _prompts;
    private readonly int _blockSize;
    private readonly int[] _sequences, _nodes;
    private readonly ulong[] _keys;
    private readonly List<int> _parents = [-1], _depths = [0], _starts = [0], _ends;
    private readonly Stack<Range> _ranges = new();
    private int _settled;

    private PromptTreeBuilder(int[][] prompts, int blockSize)
    {
        (_prompts, _blockSize, _ends) = (prompts, blockSize, [prompts.Length]);
        _sequences = [.. Enumerable.Range(0, prompts.Length)];
        _nodes = new int[prompts.Length];
        _keys = new ulong[prompts.Length];
    }

    /// <summary>The tree of sequences that have these prompts. Progress is the share of them that have their place.</summary>
    public static PromptTree Build(int[][] prompts, int blockSize, IProgress<double>? progress, CancellationToken cancellation)
    {
        var builder = new PromptTreeBuilder(prompts, blockSize);
        builder._ranges.Push(new Range(0, prompts.Length, 0, PromptTree.Root));
        int reported = 0;
        while (builder._ranges.TryPop(out Range range))
        {
            builder.Split(range, cancellation);
            if (builder._settled - reported < CancellationInterval) continue;
            reported = builder._settled;
            progress?.Report((double)reported / prompts.Length);
        }
        return new PromptTree(blockSize, builder._parents, builder._depths, builder._starts, builder._ends, builder._sequences, builder._nodes);
    }

    private void Split(in Range range, CancellationToken cancellation)
    {
        if (range.End == range.Start) return;
        int last = range.End - 1, middle = (range.Start + last) / 2;
        (_sequences[middle], _sequences[last]) = (_sequences[last], _sequences[middle]);
        ComparePivot(range, last, cancellation);
        Array.Sort(_keys, _sequences, range.Start, last - range.Start);
        Settle(_sequences[last], FollowPivot(range, last));
    }

    /// <summary>Makes a key of the tokens that each has in common with the pivot, and of the one that follows; 0 where it ends there.</summary>
    private void ComparePivot(in Range range, int pivot, CancellationToken cancellation)
    {
        ReadOnlySpan<int> rest = SharableTokens(_sequences[pivot])[range.Tokens..];
        for (int i = range.Start; i < pivot; i++)
        {
            if (i % CancellationInterval == 0) cancellation.ThrowIfCancellationRequested();
            ReadOnlySpan<int> tokens = SharableTokens(_sequences[i]);
            int common = range.Tokens + tokens[range.Tokens..].CommonPrefixLength(rest);
            _keys[i] = ((ulong)common << TokenBits) + (common < tokens.Length ? (uint)tokens[common] + 1UL : 0);
        }
    }

    /// <summary>Walks along the pivot, past those that part from it, and returns its last node.</summary>
    private int FollowPivot(in Range range, int pivot)
    {
        int node = range.Node, next;
        for (int i = range.Start; i < pivot; i = next)
        {
            int common = (int)(_keys[i] >> TokenBits);
            if (common / _blockSize > _depths[node]) node = AddNode(node, common / _blockSize, i, range.End);

            next = i + 1;
            while (next < pivot && _keys[next] == _keys[i]) next++;
            bool ended = (_keys[i] & TokenMask) == 0;
            if (ended || next == i + 1)
            {
                foreach (int sequence in _sequences.AsSpan(i, next - i)) Settle(sequence, node);
            }
            else _ranges.Push(new Range(i, next, common + 1, node));
        }
        return node;
    }

    private void Settle(int sequence, int node)
    {
        _nodes[sequence] = node;
        _settled++;
    }

    private int AddNode(int parent, int depth, int start, int end)
    {
        _parents.Add(parent);
        _depths.Add(depth);
        _starts.Add(start);
        _ends.Add(end);
        return _parents.Count - 1;
    }

    private ReadOnlySpan<int> SharableTokens(int sequence)
    {
        int[] prompt = _prompts[sequence];
        return prompt.AsSpan(0, (prompt.Length - 1) / _blockSize * _blockSize);
    }

    /// <summary>Places of sequences that have some tokens in common and are below a node.</summary>
    private readonly record struct Range(int Start, int End, int Tokens, int Node);
}
