namespace KernelForge.Inference;

/// <summary>
/// The highest <see cref="Request.Priority"/> first; among equals another order decides. A stream of high priorities keeps low ones waiting for ever:
/// <see cref="AgedOrder"/> does not.
/// </summary>
/// <param name="within">Order of one priority: earliest deadline, then arrival by default. Its keys are kept within 55 bits.</param>
public sealed class PriorityOrder(IQueueOrder? within = null) : IQueueOrder
{
    private const int KeyBits = 55, MostPriority = 127;
    private const long MostKey = (1L << KeyBits) - 1;

    private readonly IQueueOrder _within = within ?? new DeadlineOrder(lateLast: false);

    /// <inheritdoc/>
    public bool Rekeys => _within.Rekeys;

    /// <inheritdoc/>
    public bool RekeysWith(int waiting) => _within.RekeysWith(waiting);

    /// <summary>Priorities beyond -127 and 127 count as these.</summary>
    public long KeyOf(in QueueEntry entry) =>
        -(long)Math.Clamp(entry.Priority, -MostPriority, MostPriority) * (MostKey + 1) + Math.Clamp(_within.KeyOf(entry), 0, MostKey);

    /// <inheritdoc/>
    public void Started(in QueueEntry entry, long key) => _within.Started(entry, key & MostKey);
}
