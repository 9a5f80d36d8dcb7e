namespace KernelForge.Inference;

/// <summary>Tokens a sequence gained in a step: <paramref name="Count"/> of its output tokens, from <paramref name="Start"/> on.</summary>
public readonly record struct TokenGain(Sequence Sequence, int Start, int Count)
{
    /// <summary>The tokens gained. Valid until the next commit.</summary>
    public ReadOnlySpan<int> Tokens => Sequence.OutputTokens.Slice(Start, Count);
}
