namespace KernelForge.Inference;

/// <summary>A token id and the natural log of its probability.</summary>
public readonly record struct TokenLogProb(int TokenId, float LogProb);

/// <summary>Log-probabilities at one generated position: the chosen token, and the most likely ones, best first.</summary>
public sealed record TokenLogProbs(TokenLogProb Chosen, IReadOnlyList<TokenLogProb> Top);

/// <summary>What one sequence gained in one step: one or more tokens, the text they complete, or its end.</summary>
public sealed record TokenEvent
{
    /// <summary>Number of the sequence within its engine.</summary>
    public required long SequenceId { get; init; }

    /// <summary>The request it belongs to.</summary>
    public required Request Request { get; init; }

    /// <summary>Which of the request's samples this is, from 0.</summary>
    public required int SampleIndex { get; init; }

    /// <summary>Tokens gained, in order; empty when the sequence ended without one, as by cancellation.</summary>
    public IReadOnlyList<int> TokenIds { get; init; } = [];

    /// <summary>
    /// Text that is now certain. Shorter than the tokens' text while a character is incomplete or a stop string may be forming;
    /// empty when the engine has no tokenizer.
    /// </summary>
    public string Text { get; init; } = "";

    /// <summary>Set on the last event of a sequence.</summary>
    public FinishReason? FinishReason { get; init; }

    /// <summary>One entry per token of <see cref="TokenIds"/> when the request asked for them.</summary>
    public IReadOnlyList<TokenLogProbs>? LogProbs { get; init; }

    /// <summary>Prompt tokens whose KV was shared instead of computed.</summary>
    public int CachedTokens { get; init; }
}
