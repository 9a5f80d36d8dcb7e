namespace KernelForge.Inference;

/// <summary>The KV blocks of one sequence, as admission sees them.</summary>
/// <param name="Held">Blocks it holds and no other sequence does. For a candidate: cached blocks that it would pin.</param>
/// <param name="Known">Blocks it lacks for the tokens it has now, the prompt.</param>
/// <param name="Remaining">Blocks it lacks if it grows to its limit; never less than <paramref name="Known"/>.</param>
public readonly record struct KvDemand(int Held, int Known, int Remaining);

/// <summary>Whether the next waiting sequence may run. A pure function of numbers, all of them blocks.</summary>
public interface IAdmissionPolicy
{
    /// <summary>
    /// Whether <paramref name="candidate"/> may join <paramref name="running"/>. <paramref name="capacity"/> is the pool less the
    /// blocks that several running sequences share, so that those are counted once. Not asked when nothing runs: then it may.
    /// </summary>
    bool Admits(ReadOnlySpan<KvDemand> running, in KvDemand candidate, int capacity);
}
