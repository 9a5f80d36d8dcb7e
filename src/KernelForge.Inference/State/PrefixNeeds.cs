using System.Numerics;

namespace KernelForge.Inference;

/// <summary>
/// When the sequences of a planned job need each of its prefixes next: the smallest queue key of those that wait below a node of the plan's tree.
/// </summary>
/// <remarks>
/// A tree of minima over the places of the sequences: a change takes O(log n), and so does a question, whatever the order of the queue. A sequence that was not
/// added yet needs its prefix after all that wait, a preempted one before them.
/// </remarks>
internal sealed class PrefixNeeds
{
    /// <summary>Label of blocks of which the plan does not say whether they are needed.</summary>
    public const int Unplanned = int.MinValue;

    /// <summary>Nobody waits for it.</summary>
    public const long Never = long.MaxValue;

    /// <summary>Larger than every key that is not <see cref="Never"/>.</summary>
    public const long Latest = 1L << 60;

    private readonly PromptTree _tree;
    private readonly int[] _places, _nextOfRequest;
    private readonly bool[] _goesOn; // whether another one begins with the whole prompt, or may
    private readonly Dictionary<Request, int> _unclaimed;
    private readonly long[] _minima; // _minima[_places.Length + place] is a sequence; entry i has the smaller of 2 i and 2 i + 1

    /// <summary>All sequences of the plan are expected. <paramref name="sequences"/> are the requests, once for each sample.</summary>
    public PrefixNeeds(PromptTree tree, ReadOnlySpan<Request> sequences)
    {
        _tree = tree;
        _places = new int[sequences.Length];
        for (int place = 0; place < _places.Length; place++) _places[tree.Sequences[place]] = place;

        _nextOfRequest = new int[sequences.Length];
        _unclaimed = new Dictionary<Request, int>(sequences.Length, ReferenceEqualityComparer.Instance);
        for (int i = sequences.Length - 1; i >= 0; i--)
        {
            _nextOfRequest[i] = _unclaimed.GetValueOrDefault(sequences[i], -1);
            _unclaimed[sequences[i]] = i;
        }
        _goesOn = FindThoseThatGoOn(tree, sequences);
        _minima = new long[2 * sequences.Length];
        Array.Fill(_minima, Latest);
    }

    /// <summary>The next sequence of a request in the plan's numbering; -1 when the plan has no more of them.</summary>
    public int Claim(Request request)
    {
        if (!_unclaimed.TryGetValue(request, out int sequence)) return -1;

        if (_nextOfRequest[sequence] >= 0) _unclaimed[request] = _nextOfRequest[sequence];
        else _unclaimed.Remove(request);
        return sequence;
    }

    /// <summary>The next sequence of a request never comes.</summary>
    public void Drop(Request request)
    {
        int sequence = Claim(request);
        if (sequence >= 0) Forget(sequence);
    }

    /// <summary>The sequence waits with a key of the queue; keys outside [0, 2^59] count as the nearer end.</summary>
    public void Wait(int sequence, long key) => Set(sequence, 1 + Math.Clamp(key, 0, Latest / 2));

    /// <summary>The sequence waits before all that were not preempted.</summary>
    public void WaitFirst(int sequence) => Set(sequence, 0);

    /// <summary>The sequence needs nothing that it does not hold: it runs or has ended.</summary>
    public void Forget(int sequence) => Set(sequence, Never);

    /// <summary>What a block of a sequence's table is for: a number for <see cref="NextOf"/>, or <see cref="Unplanned"/>.</summary>
    public int LabelOf(int sequence, int block)
    {
        int node = _tree.NodeAt(sequence, block);
        if (node >= 0) return node;
        return _goesOn[sequence] ? Unplanned : ~sequence; // a longer prompt may go on with the tokens that this one generates
    }

    /// <summary>When blocks with this label are needed next, smaller is earlier; <see cref="Never"/> when nobody waits for them.</summary>
    public long NextOf(int label) => label < 0 ? _minima[_places.Length + _places[~label]] : Minimum(_tree.Start(label), _tree.End(label));

    /// <summary>
    /// Those whose whole prompt another one begins with, and turns of a session, which others may follow. Below their last node the rest of their prompt, one
    /// block at most, is compared by a hash: a wrong match only keeps blocks that could be freed.
    /// </summary>
    private static bool[] FindThoseThatGoOn(PromptTree tree, ReadOnlySpan<Request> sequences)
    {
        var hashes = new ulong[sequences.Length];
        var ends = new HashSet<(int Node, ulong Hash)>();
        var hasEnds = new bool[tree.NodeCount];
        for (int i = 0; i < sequences.Length; i++)
        {
            int node = tree.NodeOf(i);
            if (tree.SharableBlocks(sequences[i]) > tree.Depth(node)) continue;
            foreach (int token in sequences[i].PromptTokenIds[(tree.Depth(node) * tree.BlockSize)..]) hashes[i] = HashOf(hashes[i], token);
            ends.Add((node, hashes[i]));
            hasEnds[node] = true;
        }

        var longer = new HashSet<(int Node, ulong Hash)>();
        for (int i = 0; i < sequences.Length; i++)
        {
            for (int node = tree.NodeOf(i); node >= 0; node = tree.Parent(node))
                if (hasEnds[node]) FindEnds(sequences[i].PromptTokenIds[..^1], node);
        }
        var goOn = new bool[sequences.Length];
        for (int i = 0; i < goOn.Length; i++)
            goOn[i] = sequences[i].Session.Length > 0 || (hashes[i] != 0 && longer.Contains((tree.NodeOf(i), hashes[i])));
        return goOn;

        void FindEnds(ReadOnlySpan<int> tokens, int node)
        {
            int start = tree.Depth(node) * tree.BlockSize;
            ulong hash = 0;
            foreach (int token in tokens[start..Math.Min(tokens.Length, start + tree.BlockSize)])
            {
                hash = HashOf(hash, token);
                if (ends.Contains((node, hash))) longer.Add((node, hash));
            }
        }
    }

    private static ulong HashOf(ulong hash, int token) => BitOperations.RotateLeft((hash + (uint)token + 1) * 0x9E3779B97F4A7C15UL, 29);

    private void Set(int sequence, long key)
    {
        int i = _places.Length + _places[sequence];
        _minima[i] = key;
        for (i /= 2; i >= 1; i /= 2)
        {
            long minimum = Math.Min(_minima[2 * i], _minima[2 * i + 1]);
            if (_minima[i] == minimum) break;
            _minima[i] = minimum;
        }
    }

    private long Minimum(int start, int end)
    {
        long minimum = Never;
        for ((start, end) = (start + _places.Length, end + _places.Length); start < end; start /= 2, end /= 2)
        {
            if (start % 2 == 1) minimum = Math.Min(minimum, _minima[start++]);
            if (end % 2 == 1) minimum = Math.Min(minimum, _minima[--end]);
        }
        return minimum;
    }
}
