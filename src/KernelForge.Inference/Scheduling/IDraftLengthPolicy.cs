namespace KernelForge.Inference;

/// <summary>One decoding sequence, as a draft length policy sees it.</summary>
/// <param name="Acceptance">Estimated probability that a drafted token is accepted when those before it are, in [0, 1].</param>
/// <param name="StepsSinceDraft">
/// Steps in which it decoded since a draft was last planned for it; a new sequence starts with the steps since one was planned for any.
/// </param>
/// <param name="MaxLength">Longest draft it can take: its limit and the runner's.</param>
public readonly record struct DraftCandidate(float Acceptance, int StepsSinceDraft, int MaxLength)
{
    /// <summary>
    /// Most tokens that a draft model has to compute before it can draft: those since the last that a draft was planned behind, in the sequence or in one that it
    /// shares a beginning with. For token trees, whose cost of a drafted token is that of several nodes, as many such tokens as cost the same.
    /// </summary>
    public int Lag { get; init; }
}

/// <summary>
/// Linear model of a step's time, in seconds: Step + Token · query tokens of the target + DraftPass · passes of the draft model + DraftToken · their query
/// tokens. All zero: not known yet.
/// </summary>
public readonly record struct StepCost(double Step, double Token, double DraftPass, double DraftToken)
{
    /// <summary>Whether the times are known.</summary>
    public bool IsKnown => Step + Token > 0;

    /// <summary>
    /// Whether a step without drafts is wanted, whatever the model says: by the clock drafts have lost time, or what a step without them takes has to be measured.
    /// </summary>
    public bool WantsPlain { get; init; }
}

/// <summary>How many tokens are drafted for each sequence. A pure function of numbers.</summary>
public interface IDraftLengthPolicy
{
    /// <summary>
    /// Sets <paramref name="lengths"/>[i], 0 to MaxLength, for every decoding sequence that steps, oldest first. What is beyond that or the budget is cut.
    /// </summary>
    /// <param name="sequences">The sequences.</param>
    /// <param name="otherTokens">Query tokens that the step is expected to have besides: of prompts.</param>
    /// <param name="budget">Most drafted tokens of all sequences together.</param>
    /// <param name="cost">What a step costs.</param>
    /// <param name="lengths">One for each sequence.</param>
    void Choose(ReadOnlySpan<DraftCandidate> sequences, int otherTokens, int budget, in StepCost cost, Span<int> lengths);
}
