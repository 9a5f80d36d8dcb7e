namespace KernelForge.Inference;

/// <summary>
/// Learns <see cref="StepCost"/> from the times of steps, as they come (ProPD, arXiv:2402.13485). Two least-squares fits of two terms each: target time to a
/// constant and its query tokens, draft time to passes and their query tokens.
/// </summary>
/// <remarks>
/// Where all steps are alike the terms cannot be told apart; each then gets half of the time.
/// </remarks>
internal sealed class StepCostFit
{
    private const int FewestSteps = 8, FewestDrafts = 4;

    private readonly TwoTermFit _target = new(), _draft = new();

    /// <summary>The cost learned; all zero until enough steps, and steps with drafts, were seen.</summary>
    public StepCost Cost { get; private set; }

    /// <summary>Learns from one step. Times that are not positive are ignored.</summary>
    /// <param name="targetSeconds">Time of the target's pass and of choosing its tokens.</param>
    /// <param name="targetTokens">Its query tokens.</param>
    /// <param name="draftSeconds">Time of drafting.</param>
    /// <param name="draftPasses">Passes of the draft model; 0 for a drafter without one.</param>
    /// <param name="draftTokens">Query tokens of these passes, or tokens drafted without a model; 0 when nothing was drafted.</param>
    public void Observe(double targetSeconds, int targetTokens, double draftSeconds, int draftPasses, int draftTokens)
    {
        _target.Observe(targetSeconds, 1, targetTokens);
        if (draftPasses > 0 || draftTokens > 0) _draft.Observe(draftSeconds, draftPasses, draftTokens);
        if (_target.Count < FewestSteps || _draft.Count < FewestDrafts) return;

        (double step, double token) = _target.Solve();
        (double pass, double draftToken) = _draft.Solve();
        Cost = new StepCost(step, token, pass, draftToken);
    }
}
