namespace KernelForge.Inference;

/// <summary>How often drafted tokens are accepted, later ones counting more. All zero: nothing seen yet.</summary>
/// <param name="Accepted">Weight of the drafted tokens that were accepted.</param>
/// <param name="Trials">Weight of all that the target model has judged: those accepted and the first rejected one of each draft.</param>
internal readonly record struct AcceptanceEstimate(double Accepted, double Trials)
{
    /// <summary>The estimate after one more draft; what was seen before keeps <paramref name="memory"/> of its weight.</summary>
    public AcceptanceEstimate After(int accepted, bool rejected, double memory) =>
        new(memory * Accepted + accepted, memory * Trials + accepted + (rejected ? 1 : 0));

    /// <summary>The probability in [0, 1] that a token is accepted when those before it are: what was seen, and a prior as heavy as so many trials.</summary>
    public double Value(double prior, double priorTrials) => (Accepted + prior * priorTrials) / (Trials + priorTrials);
}
