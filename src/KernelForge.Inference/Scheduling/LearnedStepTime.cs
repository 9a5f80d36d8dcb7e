namespace KernelForge.Inference;

/// <summary>
/// Learns what a step costs from the times of steps as they come: seconds = a · prompt tokens + b · decodes + c · prompt context + d · decode context + e with
/// all of a to e at least 0. Least squares of the error relative to the seconds observed, as sums that forget half after 70 steps. Not thread-safe.
/// </summary>
/// <remarks>
/// Times and loads in the same order give the same costs. One step that took far longer than expected is an error of at most 1 and hardly moves them. Terms that
/// the steps seen do not tell apart are charged in the order above: prompt tokens first, so that the first guess is careful with them.
/// </remarks>
public sealed class LearnedStepTime : IStepTimeModel
{
    private const int Terms = 5, Sweeps = 30;
    private const double Memory = 0.99, Ridge = 1e-7, Nothing = 1e-250;

    private readonly double[] _costs = new double[Terms], _sums = new double[Terms];
    private readonly double[,] _products = new double[Terms, Terms];

    /// <summary>Steps learned from.</summary>
    public long Steps { get; private set; }

    /// <summary>Seconds that a step of this load is expected to take; 0 before anything was learned.</summary>
    public double SecondsOf(in StepLoad load)
    {
        double seconds = 0;
        for (int i = 0; i < Terms; i++) seconds += _costs[i] * TermOf(load, i);
        return seconds;
    }

    /// <summary>Learns from one step. Times that are not positive are ignored.</summary>
    public void Observe(in StepLoad load, double seconds)
    {
        if (!(seconds > 0) || double.IsInfinity(seconds)) return;
        Span<double> x = stackalloc double[Terms];
        for (int i = 0; i < Terms; i++) x[i] = TermOf(load, i) / seconds;
        for (int i = 0; i < Terms; i++)
        {
            _sums[i] = Memory * _sums[i] + x[i];
            for (int j = 0; j < Terms; j++) _products[i, j] = Memory * _products[i, j] + x[i] * x[j];
        }
        Steps++;
        for (int sweep = 0; sweep < Sweeps; sweep++) Descend();
    }

    /// <summary>One term after the other takes its best value at least 0 while the others stay: coordinate descent, which comes to the least squares.</summary>
    private void Descend()
    {
        for (int i = 0; i < Terms; i++)
        {
            double own = _products[i, i];
            if (own < Nothing) continue; // never seen, or too long ago: the cost stays
            double rest = _sums[i];
            for (int j = 0; j < Terms; j++) rest -= j == i ? 0 : _products[i, j] * _costs[j];
            _costs[i] = Math.Max(0, rest / (own * (1 + Ridge)));
        }
    }

    private static double TermOf(in StepLoad load, int term) => term switch
    {
        0 => load.PromptTokens,
        1 => load.Decodes,
        2 => load.PromptContext,
        3 => load.DecodeContext,
        _ => 1,
    };
}
