namespace KernelForge.Inference;

/// <summary>The numbers a scheduler works with.</summary>
public sealed record SchedulerOptions
{
    /// <summary>KV blocks there are.</summary>
    public required int BlockCount { get; init; }

    /// <summary>Token positions in a block.</summary>
    public int BlockSize { get; init; } = 16;

    /// <summary>Most tokens of a sequence, prompt included: the model's context length.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Most query tokens in a step, drafts included.</summary>
    public int TokenBudget { get; init; } = 512;

    /// <summary>Most sequences running at the same time.</summary>
    public int MaxSequences { get; init; } = 256;

    /// <summary>Keeps computed blocks for later sequences that begin alike.</summary>
    public bool PrefixCache { get; init; } = true;

    /// <summary>The runner's <see cref="IStepRunner.MaxTokensPerStep"/>.</summary>
    public int MaxTokensPerStep { get; init; } = 1;

    /// <summary>The model's end-of-sequence ids.</summary>
    public IReadOnlyList<int> EndTokenIds { get; init; } = [];

    /// <summary>Who is next.</summary>
    public IQueueOrder Order { get; init; } = new ArrivalOrder();

    /// <summary>Whether the next one may enter.</summary>
    public IAdmissionPolicy Admission { get; init; } = new ReserveAllAdmission();

    /// <summary>How many tokens a step may have, at most <see cref="TokenBudget"/>.</summary>
    public IStepBudget Budget { get; init; } = new FixedBudget();

    /// <summary>
    /// Whether a sequence whose next block another one is computing waits for it, so that nothing is computed twice; others go before it meanwhile.
    /// </summary>
    public bool WaitsForPrefixes { get; init; } = true;

    /// <summary>
    /// What the requests of a job share, when they are known beforehand: KV of a prefix is kept while a sequence of the plan waits for it, the one needed last
    /// evicted first, and freed with the last sequence that needs it. Goes with <see cref="GlobalPrefixPlan.OrderPolicy"/>. Without effect on memory when
    /// <see cref="PrefixCache"/> is off.
    /// </summary>
    public GlobalPrefixPlan? PrefixPlan { get; init; }

    /// <summary>Which of the decoding ones step.</summary>
    public IDecodeSelector Decodes { get; init; } = new AllDecodes();

    /// <summary>How many tokens are drafted for each of them; as many as the runner takes by default.</summary>
    public IDraftLengthPolicy DraftLengths { get; init; } = new FixedDraftLength(int.MaxValue);

    /// <summary>Nodes of a token tree for each token of its draft length; 1 where drafts are chains.</summary>
    public int DraftNodes { get; init; } = 1;

    /// <summary>
    /// How long keys and values of an ended turn are kept for the next one of its <see cref="Request.Session"/>, where the request does not say
    /// (<see cref="Request.KeepFor"/>); null keeps none of those.
    /// </summary>
    public IKeepAlive? KeepAlive { get; init; }

    internal void Validate()
    {
        Require(BlockCount, nameof(BlockCount));
        Require(BlockSize, nameof(BlockSize));
        Require(TokenBudget, nameof(TokenBudget));
        Require(MaxSequences, nameof(MaxSequences));
        Require(MaxTokensPerStep, nameof(MaxTokensPerStep));
        Require(DraftNodes, nameof(DraftNodes));
        if (PrefixPlan is { } plan && plan.BlockSize != BlockSize)
            throw new ArgumentException($"SchedulerOptions.PrefixPlan must be made for blocks of {BlockSize} tokens, not {plan.BlockSize}.");
        if (ContextLength < 2) throw new ArgumentException($"SchedulerOptions.ContextLength must be 2 or more, not {ContextLength}.");
    }

    private static void Require(int value, string option)
    {
        if (value < 1) throw new ArgumentException($"SchedulerOptions.{option} must be 1 or more, not {value}.", option);
    }
}
