namespace KernelForge.Inference;

/// <summary>What happened in a stretch of simulated time.</summary>
/// <param name="Start">Its beginning.</param>
/// <param name="Length">Its length.</param>
public readonly record struct TimelineSample(TimeSpan Start, TimeSpan Length)
{
    /// <summary>Steps in it; a step that is partly in it counts in part.</summary>
    public double Steps { get; init; }

    /// <summary>Prompt tokens computed in a step, on average, what preemptions lost included.</summary>
    public double PromptTokens { get; init; }

    /// <summary>Generated tokens computed in a step, on average.</summary>
    public double DecodeTokens { get; init; }

    /// <summary>Drafted tokens verified in a step, on average.</summary>
    public double DraftTokens { get; init; }

    /// <summary>Blocks in use, on average over the time.</summary>
    public double BlocksInUse { get; init; }

    /// <summary>Sequences that run, on average over the time.</summary>
    public double Running { get; init; }

    /// <summary>Sequences that wait, on average over the time.</summary>
    public double Waiting { get; init; }
}
