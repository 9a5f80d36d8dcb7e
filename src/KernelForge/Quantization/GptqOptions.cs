namespace KernelForge;

/// <summary>How <see cref="GptqQuantizer"/> works.</summary>
public sealed record GptqOptions
{
    /// <summary>Part of the mean of the Hessian's diagonal that is added to its diagonal, so that inputs which calibration hardly saw have a say too.</summary>
    public double Damping { get; init; } = 0.01;

    /// <summary>
    /// Chooses codes in the order of falling activations instead of the order of the inputs (desc_act): the inputs that matter most come first. Weights in
    /// groups then have that order, and products gather the columns of x; weights per channel keep the order of the inputs.
    /// </summary>
    public bool ActivationOrder { get; init; }

    /// <summary>Type that scales are rounded to before codes are chosen: that in which a checkpoint stores them.</summary>
    public DType ScaleType { get; init; } = DType.F32;

    /// <summary>Threads that compute at the same time; 0 for one per core. Changes no bit.</summary>
    public int Threads { get; init; }

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    internal void Validate()
    {
        Check.That(Damping > 0 && double.IsFinite(Damping), $"GptqOptions.Damping must be more than 0, not {Damping}");
        Check.That(ScaleType.IsFloat(), $"GptqOptions.ScaleType must be F32, F16 or BF16, not {ScaleType}");
        Check.That(Threads >= 0, $"GptqOptions.Threads must be 0 or more, not {Threads}");
    }

    internal ParallelOptions Parallel(CancellationToken cancellation) =>
        new() { CancellationToken = cancellation, MaxDegreeOfParallelism = Threads == 0 ? Environment.ProcessorCount : Threads };
}
