namespace KernelForge.Inference;

/// <summary>What a queue order may look at: the sequence's number in order of arrival, and its lengths in tokens.</summary>
public readonly record struct QueueEntry(long Arrival, int PromptLength, int MaxTokens);

/// <summary>Who is admitted next. A pure function of numbers.</summary>
public interface IQueueOrder
{
    /// <summary>Place in the queue, smallest first; equal keys go by arrival. Asked once, when a sequence arrives.</summary>
    long KeyOf(in QueueEntry entry);
}

/// <summary>First come, first served.</summary>
public sealed class ArrivalOrder : IQueueOrder
{
    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => entry.Arrival;
}
