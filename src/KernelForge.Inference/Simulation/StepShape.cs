namespace KernelForge.Inference;

/// <summary>What one step computes, counted from its plan: what its time and its traffic depend on.</summary>
public readonly record struct StepShape
{
    /// <summary>Query tokens of the target, drafted ones included: rows of its matrix products.</summary>
    public int Tokens { get; init; }

    /// <summary>Rows whose logits are computed.</summary>
    public int LogitRows { get; init; }

    /// <summary>Of <see cref="Tokens"/>, tokens of prompts.</summary>
    public int PromptTokens { get; init; }

    /// <summary>Sum over query tokens of the positions that each attends to: attention's arithmetic.</summary>
    public long AttendedPositions { get; init; }

    /// <summary>
    /// Positions whose keys and values attention reads: those of a prefix once for all rows that share it, those of a prompt's earlier chunks again.
    /// </summary>
    public long ReadPositions { get; init; }

    /// <summary>Passes of a draft model.</summary>
    public int DraftPasses { get; init; }

    /// <summary>Query tokens of these passes.</summary>
    public int DraftTokens { get; init; }

    /// <summary>
    /// The step that computes a load without drafts: each sequence reads its keys and values by itself, the prompt tokens are one chunk, which reads what is
    /// before it
    /// and itself once, and its last token's logits are wanted.
    /// </summary>
    public static StepShape Of(in StepLoad load)
    {
        double lastOfChunk = load.PromptTokens > 0 ? (double)load.PromptContext / load.PromptTokens + (load.PromptTokens - 1) / 2.0 : 0;
        return new StepShape
        {
            Tokens = load.Decodes + load.PromptTokens,
            LogitRows = load.Decodes + (load.PromptTokens > 0 ? 1 : 0),
            PromptTokens = load.PromptTokens,
            AttendedPositions = load.DecodeContext + load.Decodes + load.PromptContext,
            ReadPositions = load.DecodeContext + load.Decodes + (long)lastOfChunk,
        };
    }
}
