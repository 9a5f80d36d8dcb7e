namespace KernelForge.Inference;

/// <summary>Size and arrival of a generated workload.</summary>
public sealed record WorkloadOptions
{
    /// <summary>Requests, turns of conversations counted one by one; null for the workload's own number.</summary>
    public int? Requests { get; init; }

    /// <summary>Requests, or conversations, that arrive in a second on average, as a Poisson process; null when all are there at the beginning.</summary>
    public double? Rate { get; init; }

    /// <summary>The same seed gives the same workload.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Multiplies all lengths in tokens, above 0.</summary>
    public double LengthScale { get; init; } = 1;

    /// <summary>What the scheduler is told about the lengths of answers.</summary>
    public OutputLengths Lengths { get; init; } = OutputLengths.History;

    internal void Validate()
    {
        if (Requests is < 1) throw new ArgumentException($"WorkloadOptions.Requests must be 1 or more, not {Requests}.");
        if (Rate is { } rate && !(rate > 0 && double.IsFinite(rate))) throw new ArgumentException($"WorkloadOptions.Rate must be finite and above 0, not {rate}.");
        if (!(LengthScale > 0 && double.IsFinite(LengthScale)))
            throw new ArgumentException($"WorkloadOptions.LengthScale must be finite and above 0, not {LengthScale}.");
    }
}
