namespace KernelForge.Inference;

/// <summary>
/// Prompts in the order of their token ids, so that those that share a prefix are adjacent: what sorting the input alone gets of global prefix sharing.
/// </summary>
public sealed class SortedPromptOrder : IQueueOrder
{
    private readonly long[] _ranks; // of the scheduler's sequences, by number

    /// <summary>Sorts the prompts.</summary>
    /// <param name="requests">All requests in the order in which they will be queued, from the scheduler's first on; later ones come after them.</param>
    public SortedPromptOrder(IReadOnlyList<Request> requests)
    {
        int[] order = [.. Enumerable.Range(0, requests.Count).Order(Comparer<int>.Create((a, b) => Compare(requests[a], requests[b])))]; // stable
        var rankOf = new int[order.Length];
        for (int i = 0; i < order.Length; i++) rankOf[order[i]] = i;
        _ranks = [.. Enumerable.Range(0, order.Length).SelectMany(i => Enumerable.Repeat((long)rankOf[i], requests[i].Sampling.N))];
    }

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => entry.Arrival < _ranks.Length ? _ranks[entry.Arrival] : entry.Arrival;

    private static int Compare(Request a, Request b) => a.PromptTokenIds.SequenceCompareTo(b.PromptTokenIds);
}
