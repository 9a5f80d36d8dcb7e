namespace KernelForge.Inference;

/// <summary>What a simulation runs with.</summary>
public sealed record SimulationOptions
{
    /// <summary>The scheduler's options: blocks, budget, policies. End tokens and tokens per step are set by the simulation.</summary>
    public required SchedulerOptions Scheduler { get; init; }

    /// <summary>How long a step takes, in seconds, of the scheduler's own work too.</summary>
    public required Func<StepShape, double> SecondsOf { get; init; }

    /// <summary>Whether attention reads a prefix once for all sequences of a step that share it.</summary>
    public bool SharesPrefixReads { get; init; } = true;

    /// <summary>Most tokens drafted for a sequence in a step; 0 for no speculation.</summary>
    public int DraftLength { get; init; }

    /// <summary>Probability, in [0, 1], that a drafted token is right when those before it are.</summary>
    public double DraftAcceptance { get; init; }

    /// <summary>Longest wait for the first token with which a request counts for the goodput; null when any will do.</summary>
    public TimeSpan? FirstTokenTarget { get; init; }

    /// <summary>Longest time between two tokens of a request with which it counts for the goodput; null when any will do.</summary>
    public TimeSpan? TimeBetweenTokensTarget { get; init; }

    /// <summary>Most samples of the timeline, 2 or more.</summary>
    public int TimelineSamples { get; init; } = 200;

    /// <summary>Hears after every step how many requests have ended.</summary>
    public Action<int>? Progress { get; init; }

    internal void Validate()
    {
        if (DraftLength < 0) throw new ArgumentException($"SimulationOptions.DraftLength must be 0 or more, not {DraftLength}.");
        if (!(DraftAcceptance >= 0 && DraftAcceptance <= 1))
            throw new ArgumentException($"SimulationOptions.DraftAcceptance must be in [0, 1], not {DraftAcceptance}.");
        if (TimelineSamples < 2) throw new ArgumentException($"SimulationOptions.TimelineSamples must be 2 or more, not {TimelineSamples}.");
    }
}
