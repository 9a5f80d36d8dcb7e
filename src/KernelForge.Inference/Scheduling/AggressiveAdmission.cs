namespace KernelForge.Inference;

/// <summary>
/// Admits when the tokens known now fit, whatever may be generated later: larger batches, paid with preemptions when memory runs out.
/// </summary>
public sealed class AggressiveAdmission : IAdmissionPolicy
{
    /// <inheritdoc/>
    public bool Admits(ReadOnlySpan<KvDemand> running, in KvDemand candidate, int capacity)
    {
        long now = candidate.Held + (long)candidate.Known;
        foreach (ref readonly KvDemand demand in running) now += demand.Held + (long)demand.Known;
        return now <= capacity;
    }
}
