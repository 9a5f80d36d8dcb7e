namespace KernelForge.Inference;

/// <summary>Which of the decoding sequences take part in a step. A pure function of numbers.</summary>
public interface IDecodeSelector
{
    /// <summary>
    /// Sets <paramref name="chosen"/>[i] for every decoding sequence, oldest first. Choosing none is read as choosing all, so that a
    /// step always advances.
    /// </summary>
    void Choose(ReadOnlySpan<int> contextLengths, Span<bool> chosen);
}

/// <summary>Every decoding sequence steps every time.</summary>
public sealed class AllDecodes : IDecodeSelector
{
    /// <inheritdoc/>
    public void Choose(ReadOnlySpan<int> contextLengths, Span<bool> chosen) => chosen.Fill(true);
}
