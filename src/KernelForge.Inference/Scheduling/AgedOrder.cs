namespace KernelForge.Inference;

/// <summary>
/// Priorities as a head start: each level of <see cref="Request.Priority"/> counts like so much earlier an arrival. Nobody starves: a request is overtaken only by
/// those that arrive within the head start that they have on it.
/// </summary>
/// <param name="headStart">What one level is worth.</param>
public sealed class AgedOrder(TimeSpan headStart) : IQueueOrder
{
    private readonly long _headStart = headStart >= TimeSpan.Zero
        ? headStart.Ticks
        : throw new ArgumentException($"A head start of 0 s or more is expected, not {headStart.TotalSeconds} s.", nameof(headStart));

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => entry.ArrivedAt.Ticks - entry.Priority * _headStart;
}
