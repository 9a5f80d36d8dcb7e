namespace KernelForge.Inference;

/// <summary>
/// The earliest deadline first (<see cref="Request.Timeout"/>), then those without one, by arrival. Where not all deadlines can be met, those that passed would
/// hold up the others and miss their own all the same: they go last.
/// </summary>
/// <param name="lateLast">Whether those whose deadline has passed go last; takes time in proportion to what waits. Not needed where late requests are ended.</param>
public sealed class DeadlineOrder(bool lateLast = true) : IQueueOrder
{
    private const long NoDeadline = 1L << 53, Late = 1L << 54; // ticks: far beyond 28 years

    /// <inheritdoc/>
    public bool Rekeys => lateLast;

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => entry.Deadline switch
    {
        null => NoDeadline,
        { } deadline when lateLast && deadline <= entry.Now => Late,
        { } deadline => Math.Clamp(deadline.Ticks, 0, NoDeadline - 1),
    };
}
