namespace KernelForge.Inference;

/// <summary>
/// The order of a plan: sequences in the order in which they are added get the places that the plan gave their requests. What the plan does not know goes last,
/// by arrival.
/// </summary>
/// <remarks>
/// Sequences are known by <see cref="QueueEntry.Planned"/> where the scheduler has the plan too; otherwise the requests of the plan must be added first, in the
/// order of the job.
/// </remarks>
public sealed class PrefixGroupOrder : IQueueOrder
{
    private readonly int[] _ranks;

    /// <param name="ranks">Place of each sequence of the job, one for each sample.</param>
    internal PrefixGroupOrder(int[] ranks) => _ranks = ranks;

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry)
    {
        long sequence = entry.Planned ?? entry.Arrival;
        return sequence >= 0 && sequence < _ranks.Length ? _ranks[sequence] : _ranks.Length + entry.Arrival;
    }
}
