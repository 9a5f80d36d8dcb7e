namespace KernelForge.Inference;

/// <summary>
/// Continues a sequence with what followed the last earlier occurrence of its longest ending that occurred before (prompt lookup decoding). Every token is
/// added once; a lookup costs a probe for each length of an ending, however long the sequence is.
/// </summary>
internal sealed class NGramIndex
{
    private readonly NGramTable[] _tables; // by length of the ending, longest first
    private int _indexed;

    /// <param name="minMatch">Tokens of the shortest ending that is looked up, at least 1.</param>
    /// <param name="maxMatch">Tokens of the longest.</param>
    public NGramIndex(int minMatch, int maxMatch)
    {
        _tables = new NGramTable[maxMatch - minMatch + 1];
        for (int i = 0; i < _tables.Length; i++) _tables[i] = new NGramTable(maxMatch - i);
    }

    /// <summary>Forgets its sequence.</summary>
    public void Clear()
    {
        _indexed = 0;
        foreach (NGramTable table in _tables) table.Clear();
    }

    /// <summary>Where what followed the ending of tokens and drafted tokens begins in <paramref name="tokens"/>; 0 when no ending occurred before.</summary>
    /// <param name="tokens">The tokens of the last call and those that came since.</param>
    /// <param name="drafted">Tokens behind them that are not part of the sequence yet.</param>
    public int FindContinuation(ReadOnlySpan<int> tokens, ReadOnlySpan<int> drafted)
    {
        AddAllButTheEnding(tokens);
        Span<int> ending = stackalloc int[Math.Min(_tables[0].Length, tokens.Length + drafted.Length)];
        for (int i = 1; i <= ending.Length; i++) ending[^i] = i <= drafted.Length ? drafted[^i] : tokens[^(i - drafted.Length)];
        foreach (NGramTable table in _tables)
        {
            if (ending.Length < table.Length) continue;
            int end = table.EndOf(tokens, ending[^table.Length..]);
            if (end != 0) return end;
        }
        return 0;
    }

    /// <summary>Runs that end before the last token: the ending itself must not be found.</summary>
    private void AddAllButTheEnding(ReadOnlySpan<int> tokens)
    {
        for (int end = _indexed + 1; end < tokens.Length; end++)
        {
            foreach (NGramTable table in _tables)
                if (end >= table.Length) table.Add(tokens, end);
        }
        _indexed = Math.Max(_indexed, tokens.Length - 1);
    }
}
