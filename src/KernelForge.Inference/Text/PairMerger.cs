namespace KernelForge.Inference;

/// <summary>Two neighbouring tokens.</summary>
internal readonly record struct TokenPair(int Left, int Right)
{
    public override int GetHashCode() => (int)(((uint)Left * 0x9E3779B1u) ^ ((uint)Right * 0x85EBCA6Bu >> 3));
}

/// <summary>What a pair becomes; the pair of the lowest rank in a word merges first.</summary>
internal readonly record struct MergeRule(int Rank, int Merged);

/// <summary>
/// Merges the tokens of one word: always the pair of the lowest rank, the leftmost of equals, until no pair has a rule.
/// Takes O(n log n) for n starting tokens. Holds working memory, so each encoding call has its own.
/// </summary>
internal sealed class PairMerger(Dictionary<TokenPair, MergeRule> rules)
{
    private const int NoRule = int.MaxValue;
    private const int Gone = -1;

    private readonly PriorityQueue<int, long> _queue = new();
    private int[] _tokens = new int[64];
    private int[] _next = [];
    private int[] _previous = [];
    private MergeRule[] _ruleAt = [];
    private int _count;

    public int Count => _count;

    public void Clear() => _count = 0;

    public void Add(int token)
    {
        if (_count == _tokens.Length) Array.Resize(ref _tokens, _count * 2);
        _tokens[_count++] = token;
    }

    /// <summary>Merges the added tokens and returns what is left, valid until the next call.</summary>
    public ReadOnlySpan<int> Merge()
    {
        if (_count < 2) return _tokens.AsSpan(0, _count);
        Link();
        while (_queue.TryDequeue(out int left, out long priority))
        {
            // An entry is stale when its token was merged away or its pair has changed since.
            if (_tokens[left] == Gone || _ruleAt[left].Rank != (int)(priority >> 32)) continue;
            MergeAt(left);
        }
        return Compact();
    }

    private void Link()
    {
        if (_next.Length < _count)
        {
            (_next, _previous, _ruleAt) = (new int[_tokens.Length], new int[_tokens.Length], new MergeRule[_tokens.Length]);
        }
        for (int i = 0; i < _count; i++)
        {
            _next[i] = i + 1 < _count ? i + 1 : -1;
            _previous[i] = i - 1;
        }
        for (int i = 0; i < _count; i++) Consider(i);
    }

    private void MergeAt(int left)
    {
        int right = _next[left], after = _next[right];
        _tokens[left] = _ruleAt[left].Merged;
        _tokens[right] = Gone;
        _next[left] = after;
        if (after >= 0) _previous[after] = left;
        Consider(left);
        if (_previous[left] >= 0) Consider(_previous[left]);
    }

    private void Consider(int left)
    {
        int right = _next[left];
        bool found = rules.TryGetValue(right < 0 ? default : new TokenPair(_tokens[left], _tokens[right]), out MergeRule rule) && right >= 0;
        _ruleAt[left] = found ? rule : new MergeRule(NoRule, 0);
        if (found) _queue.Enqueue(left, ((long)rule.Rank << 32) | (uint)left);
    }

    private Span<int> Compact()
    {
        int kept = 0;
        for (int i = 0; i >= 0; i = _next[i]) _tokens[kept++] = _tokens[i];
        _count = kept;
        return _tokens.AsSpan(0, kept);
    }
}
