namespace KernelForge.Inference;

/// <summary>
/// Finds sequences that are late, or that wait and cannot be in time any more, in O(log n) for each. A waiting one is looked at when it becomes hopeless by the
/// step time known when it was added, and all are sorted anew when steps have become a quarter longer.
/// </summary>
internal sealed class Deadlines(TimeoutPolicy policy, SchedulerOptions options)
{
    private const double Memory = 0.95, Longer = 1.25;
    private const int FewestEntries = 1024;

    private readonly PriorityQueue<Sequence, TimeSpan> _byTime = new(); // when to look at it again
    private TimeSpan _stepTime, _sortedFor;
    private int _mostEntries = FewestEntries;

    public int Count => _byTime.Count;

    /// <summary>Watches a sequence, if it has a deadline and the policy minds.</summary>
    public void Add(Sequence sequence)
    {
        if (policy == TimeoutPolicy.GoOn || sequence.Deadline is null) return;
        if (_byTime.Count >= _mostEntries) Sort();
        _byTime.Enqueue(sequence, TimeOf(sequence));
    }

    /// <summary>Learns what a step takes.</summary>
    public void Observe(TimeSpan step)
    {
        _stepTime = _stepTime == TimeSpan.Zero ? step : Memory * _stepTime + (1 - Memory) * step;
        if (policy == TimeoutPolicy.EndHopeless && _stepTime > Longer * _sortedFor) Sort();
    }

    /// <summary>The next sequence to end; false when there is none.</summary>
    public bool TryTakeLate(TimeSpan now, out Sequence late)
    {
        while (_byTime.TryPeek(out late!, out TimeSpan time) && time <= now)
        {
            _byTime.Dequeue();
            if (late.Status == SequenceStatus.Finished) continue;
            TimeSpan again = TimeOf(late);
            if (again <= now) return true;
            _byTime.Enqueue(late, again);
        }
        return false;
    }

    /// <summary>When it is late: at its deadline, or while it waits at the last moment to start.</summary>
    private TimeSpan TimeOf(Sequence sequence)
    {
        TimeSpan deadline = sequence.Deadline!.Value;
        if (policy == TimeoutPolicy.End || sequence.Status != SequenceStatus.Waiting) return deadline;
        return deadline - FewestSteps(sequence) * _stepTime;
    }

    /// <summary>Steps it needs at least: its prompt may be cached, and of its output only what is expected is sure enough.</summary>
    private int FewestSteps(Sequence sequence)
    {
        int wanted = Math.Min(sequence.Request.ExpectedTokens ?? 1, sequence.MaxLength - sequence.PromptLength) - sequence.OutputLength;
        return Math.Max(1, (wanted + options.MaxTokensPerStep - 1) / options.MaxTokensPerStep);
    }

    /// <summary>Sorts those that have not ended by the step time known now.</summary>
    private void Sort()
    {
        (Sequence, TimeSpan)[] open =
        [
            .. _byTime.UnorderedItems.Where(item => item.Element.Status != SequenceStatus.Finished).Select(item => (item.Element, TimeOf(item.Element))),
        ];
        _byTime.Clear();
        _byTime.EnqueueRange(open);
        _mostEntries = Math.Max(FewestEntries, 2 * open.Length);
        _sortedFor = _stepTime;
    }
}
