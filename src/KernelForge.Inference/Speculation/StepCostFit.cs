namespace KernelForge.Inference;

/// <summary>
/// Learns <see cref="StepCost"/> from the times of steps, as they come (ProPD, arXiv:2402.13485). Two least-squares fits of two terms each: target time to a
/// constant and its query tokens, draft time to passes and their query tokens.
/// </summary>
/// <remarks>
/// What counts is the error relative to the time observed. A step that took far longer than expected is then an error of at most 1 and hardly moves the fit,
/// and steps with prompts of many tokens do not drown the short ones. Older steps are forgotten, half of them after 35. Where all steps are alike the terms
/// cannot be told apart; each then gets half of the time.
/// </remarks>
internal sealed class StepCostFit
{
    private const int FewestSteps = 8, FewestDrafts = 4;

    private readonly TwoTerms _target = new(), _draft = new();

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

    /// <summary>Least squares of 1 = a · x / seconds + b · y / seconds with a, b ≥ 0, as sums that forget.</summary>
    private sealed class TwoTerms
    {
        private const double Memory = 0.98;
        private const double Ridge = 1e-4; // relative: decides where x and y are proportional

        private double _xx, _xy, _yy, _x, _y;

        public int Count { get; private set; }

        public void Observe(double seconds, double x, double y)
        {
            if (!(seconds > 0)) return;
            (x, y) = (x / seconds, y / seconds);
            _xx = Memory * _xx + x * x;
            _xy = Memory * _xy + x * y;
            _yy = Memory * _yy + y * y;
            _x = Memory * _x + x;
            _y = Memory * _y + y;
            Count++;
        }

        public (double A, double B) Solve()
        {
            double xx = _xx * (1 + Ridge), yy = _yy * (1 + Ridge), determinant = xx * yy - _xy * _xy;
            double a = _x * yy - _y * _xy, b = _y * xx - _x * _xy;
            if (a <= 0 || determinant <= 0) return (0, _yy > 0 ? _y / _yy : 0);
            if (b <= 0) return (_x / _xx, 0);
            return (a / determinant, b / determinant);
        }
    }
}
