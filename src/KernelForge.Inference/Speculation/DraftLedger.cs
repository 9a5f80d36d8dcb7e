namespace KernelForge.Inference;

/// <summary>One step, as its runner measured it.</summary>
/// <param name="TargetSeconds">Time of the target's pass and of choosing its tokens.</param>
/// <param name="DraftSeconds">Time of drafting, what the draft model took of sequences included.</param>
/// <param name="Decodes">Sequences that gained tokens.</param>
/// <param name="Drafted">Tokens drafted for them.</param>
/// <param name="Accepted">How many of these were right.</param>
/// <param name="HasPrompts">Whether tokens of prompts were computed in it.</param>
internal readonly record struct StepTime(double TargetSeconds, double DraftSeconds, int Decodes, int Drafted, int Accepted, bool HasPrompts);

/// <summary>
/// Keeps account of what drafts cost and gain by the clock, whatever a model of costs expects of them. What they lose against plain decoding is a debt, and
/// half a percent of all time pays it back; while there is debt, nothing is drafted. So drafts never cost more than that share, a few steps and what the last
/// of them took.
/// </summary>
/// <remarks>
/// Plain decoding is measured, not modelled: by the first steps, and by one in 32 later on. Of a step with prompts only what drafts added is counted.
/// A pause of the machine is not charged to drafts: a step counts for at most twice the time that the model of costs expects.
/// </remarks>
internal sealed class DraftLedger
{
    private const double Allowance = 0.005; // share of the time that drafts may lose
    private const int CreditSteps = 4; // plain steps that gains can be saved up for, and that the first losses are paid from
    private const int FewestPlain = 4, StepsBetweenPlain = 32;
    private const int WarmUp = 4; // steps that compile code and fill caches

    private readonly TwoTermFit _plain = new();
    private int _sincePlain, _drafting;
    private double _debt = double.NegativeInfinity;
    private bool _repays;

    /// <summary>Whether the next step should be one without drafts.</summary>
    public bool WantsPlain => _plain.Count < FewestPlain || _sincePlain >= StepsBetweenPlain || _repays;

    /// <summary>Books one step.</summary>
    /// <param name="step">What was measured.</param>
    /// <param name="expectedTarget">Seconds that the model of costs expects for the target; 0 where it is not known yet.</param>
    /// <param name="expectedDraft">Seconds that it expects for the draft.</param>
    /// <param name="addedSeconds">Seconds that it expects the target to have taken longer for the drafted tokens.</param>
    public void Observe(in StepTime step, double expectedTarget, double expectedDraft, double addedSeconds)
    {
        if (step.Decodes == 0) return;
        if (step is { Drafted: 0, HasPrompts: false })
        {
            _plain.Observe(step.TargetSeconds, 1, step.Decodes);
            _sincePlain = 0;
        }
        if (_plain.Count < FewestPlain) return;

        (double constant, double perSequence) = _plain.Solve();
        double plain = constant + perSequence * step.Decodes, credit = CreditSteps * plain;
        _debt -= Allowance * (step.TargetSeconds + step.DraftSeconds);
        if (step.Drafted > 0)
        {
            if (!step.HasPrompts) _sincePlain++;
            if (++_drafting > WarmUp)
            {
                double target = step.HasPrompts ? addedSeconds : Bounded(step.TargetSeconds, expectedTarget) - plain;
                _debt += Bounded(step.DraftSeconds, expectedDraft) + target - plain * step.Accepted / step.Decodes;
            }
        }
        _debt = Math.Max(_debt, -credit);
        _repays = _debt > (_repays ? -credit : 0);
    }

    private static double Bounded(double seconds, double expected) => expected > 0 ? Math.Min(seconds, 2 * expected) : seconds;
}
