namespace KernelForge.Inference;

/// <summary>Where a prompt lies.</summary>
/// <param name="Row">Its row.</param>
/// <param name="Start">Its first token in the row: positions begin at 0 again there, and attention sees nothing before it.</param>
/// <param name="Length">Its tokens.</param>
public readonly record struct PackedPrompt(int Row, int Start, int Length);

/// <summary>Prompts in rows of one size, as <see cref="PromptPacker"/> lays them out.</summary>
public sealed class PackedPrompts
{
    private readonly PackedPrompt[] _places;

    internal PackedPrompts(PackedPrompt[] places, int rows, int capacity)
    {
        (_places, RowCount, Capacity) = (places, rows, capacity);
        int longest = 0;
        foreach (PackedPrompt place in places)
        {
            Tokens += place.Length;
            longest = Math.Max(longest, place.Length);
        }
        PaddedTokens = (long)longest * places.Length;
    }

    /// <summary>Place of each prompt, in the order in which they were given: what their results are found by.</summary>
    public ReadOnlySpan<PackedPrompt> Places => _places;

    /// <summary>Rows there are.</summary>
    public int RowCount { get; }

    /// <summary>Tokens of a row.</summary>
    public int Capacity { get; }

    /// <summary>Tokens of all prompts.</summary>
    public long Tokens { get; }

    /// <summary>Tokens that are computed in these rows, room left in them included.</summary>
    public long PackedTokens => (long)RowCount * Capacity;

    /// <summary>Tokens that would be computed with a row for each prompt, as long as the longest.</summary>
    public long PaddedTokens { get; }

    /// <summary>Prompts of a row in the order of their starts; empty ones are left out.</summary>
    public IReadOnlyList<int> PromptsOf(int row)
    {
        if ((uint)row >= (uint)RowCount) throw new ArgumentOutOfRangeException(nameof(row), row, $"Expected a row in [0, {RowCount}).");
        IEnumerable<int> prompts = Enumerable.Range(0, _places.Length).Where(prompt => _places[prompt].Row == row && _places[prompt].Length > 0);
        return [.. prompts.OrderBy(prompt => _places[prompt].Start)];
    }

    /// <summary>
    /// Copies the prompts' token ids into rows of <see cref="Capacity"/>, and their positions; room left holds <paramref name="padding"/> at position 0.
    /// </summary>
    /// <param name="prompts">At least as many token ids of each prompt as it was packed with.</param>
    /// <param name="padding">Token id of what is left of a row.</param>
    /// <param name="tokens">Receives <see cref="PackedTokens"/> token ids, row by row.</param>
    /// <param name="positions">Receives the position of each in its own prompt.</param>
    /// <exception cref="ArgumentException">A size does not match.</exception>
    public void Fill(IReadOnlyList<ReadOnlyMemory<int>> prompts, int padding, Span<int> tokens, Span<int> positions)
    {
        if (prompts.Count != _places.Length)
            throw new ArgumentException($"PackedPrompts: expected {_places.Length} prompts, got {prompts.Count}.", nameof(prompts));
        if (tokens.Length != PackedTokens || positions.Length != PackedTokens)
            throw new ArgumentException($"PackedPrompts: expected room for {PackedTokens} tokens and positions, got {tokens.Length} and {positions.Length}.");

        tokens.Fill(padding);
        positions.Clear();
        for (int i = 0; i < _places.Length; i++)
        {
            (int row, int start, int length) = _places[i];
            int at = row * Capacity + start;
            if (prompts[i].Length < length)
                throw new ArgumentException($"PackedPrompts: prompt {i} was packed with {length} tokens, got {prompts[i].Length}.", nameof(prompts));
            prompts[i].Span[..length].CopyTo(tokens[at..]);
            for (int p = 0; p < length; p++) positions[at + p] = p;
        }
    }
}
