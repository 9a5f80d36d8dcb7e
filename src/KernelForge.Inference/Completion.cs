namespace KernelForge.Inference;

/// <summary>All that one sample of a request came to.</summary>
public sealed record Completion
{
    /// <summary>The request.</summary>
    public required Request Request { get; init; }

    /// <summary>Which of the request's samples this is, from 0.</summary>
    public required int SampleIndex { get; init; }

    /// <summary>Generated text; empty when the engine has no tokenizer.</summary>
    public required string Text { get; init; }

    /// <summary>Generated tokens, the one that ended the sequence included.</summary>
    public required IReadOnlyList<int> TokenIds { get; init; }

    /// <summary>Why it ended.</summary>
    public required FinishReason FinishReason { get; init; }

    /// <summary>One entry per generated token when the request asked for log-probabilities.</summary>
    public IReadOnlyList<TokenLogProbs>? LogProbs { get; init; }

    /// <summary>Prompt tokens whose KV was shared instead of computed.</summary>
    public int CachedTokens { get; init; }

    /// <summary>Prompt tokens.</summary>
    public int PromptTokens => Request.PromptTokenIds.Length;
}
