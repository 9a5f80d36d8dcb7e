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

    private readonly PriorityQueue<int, long> queue = new();
    private int[] tokens = new int[64];
    private int[] next = [];
    private int[] previous = [];
    private MergeRule[] ruleAt = [];
    private int count;

    public int Count => count;

    public void Clear() => count = 0;

    public void Add(int token)
    {
        if (count == tokens.Length) Array.Resize(ref tokens, count * 2);
        tokens[count++] = token;
    }

    /// <summary>Merges the added tokens and returns what is left, valid until the next call.</summary>
    public ReadOnlySpan<int> Merge()
    {
        if (count < 2) return tokens.AsSpan(0, count);
        Link();
        while (queue.TryDequeue(out int left, out long priority))
        {
            // An entry is stale when its token was merged away or its pair has changed since.
            if (tokens[left] == Gone || ruleAt[left].Rank != (int)(priority >> 32)) continue;
            MergeAt(left);
        }
        return Compact();
    }

    private void Link()
    {
        if (next.Length < count)
        {
            (next, previous, ruleAt) = (new int[tokens.Length], new int[tokens.Length], new MergeRule[tokens.Length]);
        }
        for (int i = 0; i < count; i++)
        {
            next[i] = i + 1 < count ? i + 1 : -1;
            previous[i] = i - 1;
        }
        for (int i = 0; i < count; i++) Consider(i);
    }

    private void MergeAt(int left)
    {
        int right = next[left], after = next[right];
        tokens[left] = ruleAt[left].Merged;
        tokens[right] = Gone;
        next[left] = after;
        if (after >= 0) previous[after] = left;
        Consider(left);
        if (previous[left] >= 0) Consider(previous[left]);
    }

    private void Consider(int left)
    {
        int right = next[left];
        bool found = rules.TryGetValue(right < 0 ? default : new TokenPair(tokens[left], tokens[right]), out MergeRule rule) && right >= 0;
        ruleAt[left] = found ? rule : new MergeRule(NoRule, 0);
        if (found) queue.Enqueue(left, ((long)rule.Rank << 32) | (uint)left);
    }

    private Span<int> Compact()
    {
        int kept = 0;
        for (int i = 0; i >= 0; i = next[i]) tokens[kept++] = tokens[i];
        count = kept;
        return tokens.AsSpan(0, kept);
    }
}
