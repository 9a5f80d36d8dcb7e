namespace KernelForge.Inference;

/// <summary>How tokens are drafted before the model verifies them. Without rejection sampling none of it changes a token of any answer.</summary>
public sealed record SpeculationOptions
{
    /// <summary>Hugging Face folder of the draft model, with the same vocabulary as the model; null drafts by looking up n-grams in the sequence itself.</summary>
    public string? DraftModel { get; init; }

    /// <summary>
    /// Most children of a node: 1 drafts chains, more let the draft model draft token trees, of as many nodes for each token of the draft length. N-grams are
    /// chains always.
    /// </summary>
    public int Branches { get; init; } = 1;

    /// <summary>Drops nodes of token trees after the model's first layers; null computes all of them to the end. Of trees only.</summary>
    public EarlyPruning? EarlyPruning { get; init; }

    /// <summary>Drafts of the draft model are themselves drafted by n-gram lookup, which saves passes of the draft model (staged speculation). Of chains only.</summary>
    public bool Staged { get; init; }

    /// <summary>Tokens drafted for each sequence in a step; null adapts them to what is accepted and what a step costs.</summary>
    public int? DraftLength { get; init; }

    /// <summary>Longest draft when the length adapts.</summary>
    public int MaxDraftLength { get; init; } = 8;

    /// <summary>
    /// Accepts drafted tokens by rejection sampling (arXiv:2211.17192): keeps the distribution of the answers, not the answers. False accepts a token when
    /// it is the one that would have been chosen without drafts.
    /// </summary>
    public bool RejectionSampling { get; init; }

    /// <summary>Longest chain that is ever drafted.</summary>
    internal int LongestDraft => DraftLength ?? MaxDraftLength;

    /// <summary>Nodes of a token tree for each token of its draft length; 1 for chains.</summary>
    internal int NodesPerToken => DraftModel is null ? 1 : Branches;

    /// <summary>
    /// KV blocks for branches of token trees. A node outside of the first path takes at most one; trees of a full step seldom take all, and are cut where they
    /// would.
    /// </summary>
    /// <param name="tokenBudget">Most query tokens of a step.</param>
    /// <param name="maxSequences">Most sequences of a step.</param>
    internal int BranchBlocks(int tokenBudget, int maxSequences) =>
        (int)Math.Min((long)maxSequences * LongestDraft * (NodesPerToken - 1), tokenBudget * (NodesPerToken - 1L) / NodesPerToken);

    /// <summary>Throws <see cref="ArgumentException"/> naming the option that is out of range.</summary>
    public void Validate()
    {
        Require(Branches is >= 1 and <= 8, nameof(Branches), "1 to 8", Branches);
        Require(MaxDraftLength is >= 1 and <= 16, nameof(MaxDraftLength), "1 to 16", MaxDraftLength);
        Require(DraftLength is null or (>= 1 and <= 16), nameof(DraftLength), "null or 1 to 16", DraftLength);
        Require(!Staged || DraftModel is not null, nameof(Staged), "false without a draft model", Staged);
        Require(!Staged || Branches == 1, nameof(Staged), "false for token trees", Staged);
        Require(!RejectionSampling || !Staged, nameof(RejectionSampling), "false for staged drafts", RejectionSampling);
        Require(!RejectionSampling || Branches == 1, nameof(RejectionSampling), "false for token trees", RejectionSampling);
        Require(EarlyPruning is null || Branches > 1, nameof(EarlyPruning), "null without token trees", EarlyPruning);
        Require(EarlyPruning is null or { Layers: >= 1, Keep: >= 1 }, nameof(EarlyPruning), "at least a layer and a token", EarlyPruning);
    }

    private static void Require<T>(bool holds, string option, string expected, T value)
    {
        if (!holds) throw new ArgumentException($"SpeculationOptions.{option} must be {expected}, not {value}.", option);
    }
}
