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

    /// <summary>Token ids of the prompt, at least one.</summary>
    public ReadOnlySpan<int> PromptTokenIds => _promptTokenIds;

    /// <summary>The same, for sequences to start from; never written to.</summary>
    internal int[] PromptTokens => _promptTokenIds;

    /// <summary>How to choose tokens and when to end.</summary>
    public SamplingOptions Sampling { get; }
}
