namespace KernelForge.Inference;

/// <summary>Admits when everybody could grow to its limit at the same time: nothing is ever preempted.</summary>
public sealed class ReserveAllAdmission : IAdmissionPolicy
{
    /// <inheritdoc/>
    public bool Admits(ReadOnlySpan<KvDemand> running, in KvDemand candidate, int capacity)
    {
        long peak = candidate.Held + (long)candidate.Remaining;
        foreach (ref readonly KvDemand demand in running) peak += demand.Held + (long)demand.Remaining;
        return peak <= capacity;
    }
}
