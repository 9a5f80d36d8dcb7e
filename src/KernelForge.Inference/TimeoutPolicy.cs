namespace KernelForge.Inference;

/// <summary>What becomes of requests whose deadline (<see cref="Request.Timeout"/>) passes.</summary>
public enum TimeoutPolicy
{
    /// <summary>They go on: deadlines only matter to the order.</summary>
    GoOn,

    /// <summary>They end with <see cref="FinishReason.TimedOut"/> at the next step.</summary>
    End,

    /// <summary>
    /// The same, and a waiting one ends as soon as it could not meet its deadline even if it started at once, judged by the steps that it needs and the time of
    /// recent ones: the time is better spent on others.
    /// </summary>
    EndHopeless,
}
