namespace KernelForge.Cpu;

/// <summary>Keeps the random words of different users of the same seed and position apart.</summary>
internal enum RandomPurpose : uint
{
    /// <summary>Noise of <see cref="Operators.Sample"/>.</summary>
    Sampling,

    /// <summary>Whether <see cref="Operators.RejectDrafts"/> takes a drafted token.</summary>
    Acceptance,

    /// <summary>Noise of the token that it takes instead.</summary>
    Residual,
}
