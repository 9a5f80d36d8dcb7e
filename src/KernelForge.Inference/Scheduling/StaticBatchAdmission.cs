namespace KernelForge.Inference;

/// <summary>
/// Static batching: up to so many sequences start together, and the next ones when the last of them has ended. Room for the limit of each is reserved.
/// </summary>
/// <remarks>
/// A batch takes who waits when nothing runs. Where the token budget cannot hold the prompts of a batch, it is filled over several steps, as long as each of
/// them adds somebody; those that are in it decode meanwhile. Prompts are computed without the padding that rectangular batches have, and ended sequences cost
/// nothing: both are to the advantage of static batching. <see cref="PaddedTokens"/> says what padding there would be.
/// </remarks>
public sealed class StaticBatchAdmission : IAdmissionPolicy
{
    /// <summary>Throws <see cref="ArgumentException"/> when the size is less than 1.</summary>
    /// <param name="size">Most sequences of a batch.</param>
    public StaticBatchAdmission(int size)
    {
        if (size < 1) throw new ArgumentException($"StaticBatchAdmission: a batch must have 1 sequence or more, not {size}.", nameof(size));
        Size = size;
    }

    /// <summary>Most sequences of a batch.</summary>
    public int Size { get; }

    /// <summary>Prompt tokens that are computed when each batch of so many prompts, in this order, is padded to its longest.</summary>
    public static long PaddedTokens(ReadOnlySpan<int> promptLengths, int size)
    {
        long padded = 0;
        for (int start = 0; start < promptLengths.Length; start += size)
        {
            ReadOnlySpan<int> batch = promptLengths.Slice(start, Math.Min(size, promptLengths.Length - start));
            int longest = 0;
            foreach (int length in batch) longest = Math.Max(longest, length);
            padded += (long)longest * batch.Length;
        }
        return padded;
    }

    /// <inheritdoc/>
    public IAdmission For(SchedulerOptions options) =>
        new Batch(Size, new ReserveAllAdmission().For(options), fillsOverSteps: options.TokenBudget < (long)Size * options.ContextLength);

    private sealed class Batch(int size, IAdmission room, bool fillsOverSteps) : IAdmission
    {
        private int _members, _added;
        private bool _open;

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
            _open = running.IsEmpty || (_open && fillsOverSteps && _added > 0 && running.Length == _members);
            (_members, _added) = (running.Length, 0);
            room.Begin(running, capacity);
        }

        public bool TryAdmit(in KvDemand candidate)
        {
            if (!_open || _members >= size || !room.TryAdmit(candidate)) return false;
            _members++;
            _added++;
            return true;
        }
    }
}
