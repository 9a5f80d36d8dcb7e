namespace KernelForge.Inference;

/// <summary>The same draft length for every sequence, cut to its limit; where the budget does not reach, the oldest are served first.</summary>
/// <param name="length">Tokens drafted for each sequence, 0 or more.</param>
public sealed class FixedDraftLength(int length) : IDraftLengthPolicy
{
    private readonly int _length = length >= 0 ? length : throw new ArgumentException($"FixedDraftLength: the length must be 0 or more, not {length}.", nameof(length));

    /// <inheritdoc/>
    public void Choose(ReadOnlySpan<DraftCandidate> sequences, int otherTokens, int budget, in StepCost cost, Span<int> lengths)
    {
        for (int i = 0; i < sequences.Length; i++)
        {
            lengths[i] = Math.Min(Math.Min(_length, budget), sequences[i].MaxLength);
            budget -= lengths[i];
        }
    }
}
