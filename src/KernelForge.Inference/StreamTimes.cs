namespace KernelForge.Inference;

/// <summary>What callers wait for, in numbers.</summary>
/// <param name="TimeToFirstToken">From a sequence's arrival to its first token.</param>
/// <param name="TimeBetweenTokens">From one gain of a sequence to its next: what a reader of the stream sees. A step that gives several tokens is one gain.</param>
/// <param name="TimedOut">Sequences that ended because of their deadline.</param>
public readonly record struct LatencyCounters(LatencySummary TimeToFirstToken, LatencySummary TimeBetweenTokens, long TimedOut);

/// <summary>Counts when sequences gain tokens. One thread books; any may read.</summary>
internal sealed class StreamTimes
{
    private readonly LatencyHistogram _first = new(), _between = new();
    private long _timedOut;

    public LatencyCounters Counters => new(_first.Summary, _between.Summary, Volatile.Read(ref _timedOut));

    public void Gained(Sequence sequence, TimeSpan now)
    {
        if (sequence.LastGainAt is { } before) _between.Add(now - before);
        else _first.Add(now - sequence.ArrivedAt);
        sequence.LastGainAt = now;
    }

    public void TimedOut() => Volatile.Write(ref _timedOut, _timedOut + 1);
}
