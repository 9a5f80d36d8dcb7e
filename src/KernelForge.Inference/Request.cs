namespace KernelForge.Inference;

/// <summary>What a caller asks for: a prompt as token ids, and how to continue it. Immutable.</summary>
public sealed class Request
{
    private readonly int[] _promptTokenIds;

    /// <summary>Copies the prompt. Throws <see cref="ArgumentException"/> when it is empty or an option is out of range.</summary>
    public Request(ReadOnlySpan<int> promptTokenIds, SamplingOptions? sampling = null)
    {
        if (promptTokenIds.IsEmpty)
            throw new ArgumentException("A request needs a prompt of at least one token id, got none.", nameof(promptTokenIds));

        _promptTokenIds = promptTokenIds.ToArray();
        Sampling = sampling ?? SamplingOptions.Default;
        Sampling.Validate();
    }

    /// <summary>The caller's own name for the request, carried to its results; never interpreted.</summary>
    public string Id { get; init; } = "";

    /// <summary>Larger is admitted first by orders that look at it; 0 for most.</summary>
    public int Priority { get; init; }

    /// <summary>Who asks, for fairness between tenants; empty when there is only one.</summary>
    public string Tenant { get; init; } = "";

    /// <summary>What kind of task it is: requests of a class have outputs of similar length (Past-Future keeps a history for each).</summary>
    public string TaskClass { get; init; } = "";

    /// <summary>How long after its arrival it should have ended; null when nobody minds.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>
    /// Names the conversation it is a turn of: each turn's prompt begins with the prompt and the output of the one before. Empty for requests on their own.
    /// </summary>
    public string Session { get; init; } = "";

    /// <summary>
    /// How long its keys and values are kept after its end for the next turn of its <see cref="Session"/>; null leaves it to
    /// <see cref="SchedulerOptions.KeepAlive"/>.
    /// </summary>
    public TimeSpan? KeepFor { get; init; }

    /// <summary>Tokens it is expected to generate, where that is known or estimated; null leaves it to a history or to the limit.</summary>
    public int? ExpectedTokens { get; init; }

    /// <summary>Token ids of the prompt, at least one.</summary>
    public ReadOnlySpan<int> PromptTokenIds => _promptTokenIds;

    /// <summary>The same, for sequences to start from; never written to.</summary>
    internal int[] PromptTokens => _promptTokenIds;

    /// <summary>How to choose tokens and when to end.</summary>
    public SamplingOptions Sampling { get; }
}
