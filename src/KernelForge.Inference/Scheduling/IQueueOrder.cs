namespace KernelForge.Inference;

/// <summary>What a queue order may look at: the sequence's number in order of arrival, and its lengths in tokens.</summary>
public readonly record struct QueueEntry(long Arrival, int PromptLength, int MaxTokens)
{
    /// <summary><see cref="Request.Priority"/>.</summary>
    public int Priority { get; init; }

    /// <summary><see cref="Request.Tenant"/>.</summary>
    public string Tenant { get; init; } = "";

    /// <summary><see cref="Scheduler.Now"/> when it arrived.</summary>
    public TimeSpan ArrivedAt { get; init; }

    /// <summary>When it should have ended, on the scheduler's clock; null when nobody said.</summary>
    public TimeSpan? Deadline { get; init; }

    /// <summary>Sequences in the queue.</summary>
    public int Waiting { get; init; }

    /// <summary><see cref="Scheduler.Now"/>.</summary>
    public TimeSpan Now { get; init; }

    /// <summary><see cref="Request.ExpectedTokens"/>.</summary>
    public int? ExpectedTokens { get; init; }

    /// <summary>Number of the sequence in <see cref="SchedulerOptions.PrefixPlan"/>, -1 when it is not part of it; null without a plan.</summary>
    public int? Planned { get; init; }

    /// <summary>Leading tokens whose KV is cached now. Known to orders that <see cref="IQueueOrder.Rekeys"/> only, 0 otherwise.</summary>
    public int CachedTokens { get; init; }
}

/// <summary>Who is admitted next. A function of numbers.</summary>
public interface IQueueOrder
{
    /// <summary>
    /// Whether keys change while sequences wait: they are then asked for again before each admission, for every waiting sequence, which takes time in
    /// proportion to their number.
    /// </summary>
    bool Rekeys => false;

    /// <summary>The same for orders that do so only while few wait; <see cref="Rekeys"/> by default.</summary>
    bool RekeysWith(int waiting) => Rekeys;

    /// <summary>Place in the queue, smallest first; equal keys go by arrival.</summary>
    long KeyOf(in QueueEntry entry);

    /// <summary>A sequence with this key was admitted for the first time, for orders that keep count.</summary>
    void Started(in QueueEntry entry, long key)
    {
    }
}

/// <summary>First come, first served.</summary>
public sealed class ArrivalOrder : IQueueOrder
{
    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => entry.Arrival;
}
