using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// The tokens each row of a plan gained: none for a row that does not sample, else one to <see cref="PlanRow.MaxTokens"/>.
/// When a row gains j tokens, KV of all of them but the last must be valid in the sequence's slots. A runner keeps one and refills it.
/// </summary>
public sealed class StepResult
{
    private readonly List<int> _tokens = [], _rowStarts = [], _draftLengths = [];
    private readonly List<TokenLogProbs?> _logProbs = [];

    /// <summary>Forgets the last step. Call once before adding.</summary>
    public void Clear()
    {
        _tokens.Clear();
        _rowStarts.Clear();
        _logProbs.Clear();
        _draftLengths.Clear();
    }

    /// <summary>Adds a row's next token. Rows come in the plan's order; rows without tokens may be left out.</summary>
    public void Add(int row, int tokenId, TokenLogProbs? logProbs = null)
    {
        if (row < _rowStarts.Count - 1)
            throw new ArgumentException($"StepResult.Add: rows come in ascending order; expected {_rowStarts.Count - 1} or more, got {row}.", nameof(row));

        while (_rowStarts.Count <= row) _rowStarts.Add(_tokens.Count);
        _tokens.Add(tokenId);
        _logProbs.Add(logProbs);
    }

    /// <summary>Says how long a chain was drafted for the row; without a word it is 0.</summary>
    public void SetDraftLength(int row, int length)
    {
        while (_draftLengths.Count <= row) _draftLengths.Add(0);
        _draftLengths[row] = length;
    }

    /// <summary>Length of the longest chain that was drafted for the row; its tokens beyond the first are drafts that were accepted.</summary>
    public int DraftLength(int row) => row < _draftLengths.Count ? _draftLengths[row] : 0;

    /// <summary>Tokens the row gained, in order.</summary>
    public ReadOnlySpan<int> Tokens(int row) => CollectionsMarshal.AsSpan(_tokens)[RangeOf(row)];

    /// <summary>Log-probabilities beside <see cref="Tokens"/>; null entries where none were asked for.</summary>
    public ReadOnlySpan<TokenLogProbs?> LogProbs(int row) => CollectionsMarshal.AsSpan(_logProbs)[RangeOf(row)];

    private Range RangeOf(int row)
    {
        if (row >= _rowStarts.Count) return 0..0;
        return _rowStarts[row]..(row + 1 < _rowStarts.Count ? _rowStarts[row + 1] : _tokens.Count);
    }
}
