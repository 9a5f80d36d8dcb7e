namespace KernelForge.Inference;

/// <summary>How far predicted times of steps are from measured ones: |predicted / measured - 1|.</summary>
/// <param name="Steps">Steps compared.</param>
/// <param name="Median">Error that half of the steps stay below.</param>
/// <param name="P90">Error that nine of ten stay below.</param>
/// <param name="Total">Predicted time of all steps together over the measured one.</param>
public readonly record struct PredictionError(int Steps, double Median, double P90, double Total)
{
    /// <summary>Compares a model with measurements. Throws <see cref="ArgumentException"/> when there are none.</summary>
    public static PredictionError Of(CostModel model, IReadOnlyList<StepTiming> timings)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(timings);
        if (timings.Count == 0) throw new ArgumentException("An error of predictions needs the times of one step or more, got none.", nameof(timings));
        double[] errors = [.. timings.Select(timing => Math.Abs(model.SecondsOf(timing.Shape) / timing.Seconds - 1))];
        Array.Sort(errors);
        double total = timings.Sum(timing => model.SecondsOf(timing.Shape)) / timings.Sum(timing => timing.Seconds);
        return new PredictionError(errors.Length, At(errors, 0.5), At(errors, 0.9), total);
    }

    private static double At(double[] sorted, double share) => sorted[Math.Min((int)(share * sorted.Length), sorted.Length - 1)];
}
