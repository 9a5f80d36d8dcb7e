namespace KernelForge.Inference;

/// <summary>What a <see cref="GlobalPrefixPlan"/> may know beside the prompts.</summary>
public sealed record PrefixPlanOptions
{
    /// <summary>
    /// What it costs to read a prefix apart from the one before it, in prompt tokens, by the sequences that share it and the tokens it adds: attention has an
    /// item and a merge more. A prefix is a group of its own where it saves more than that. Null where one more level costs nothing.
    /// </summary>
    public Func<int, int, double>? LevelCost { get; init; }

    /// <summary>
    /// Tokens that the requests generated that have been run already, null for the others: one entry for each request, null where none has. Others are then
    /// expected to generate the mean of the nearest node that has any (BlendServe; <see cref="GlobalPrefixPlan.ChooseSample"/> says which to run).
    /// </summary>
    public IReadOnlyList<int?>? SampledTokens { get; init; }
}
