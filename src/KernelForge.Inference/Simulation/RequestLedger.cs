using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>When the requests of a simulation arrive, gain tokens and end, by the number of their sequence.</summary>
internal sealed class RequestLedger(SimulationOptions options)
{
    private readonly double _firstTarget = options.FirstTokenTarget?.TotalSeconds ?? double.PositiveInfinity;
    private readonly double _gapTarget = options.TimeBetweenTokensTarget?.TotalSeconds ?? double.PositiveInfinity;
    private readonly List<Times> _times = [];
    private readonly Distribution _first = new(), _between = new(), _whole = new();

    private record struct Times(double Arrival, double Timeout, double First, double Last, double LongestGap);

    public int Ended { get; private set; }

    /// <summary>Requests that ended within their time and met all targets.</summary>
    public int Good { get; private set; }

    public LatencySummary TimeToFirstToken => _first.Summarize();

    public LatencySummary TimeBetweenTokens => _between.Summarize();

    public LatencySummary EndToEnd => _whole.Summarize();

    public void Arrive(SimulatedRequest request) =>
        _times.Add(new Times(request.Arrival.TotalSeconds, request.Request.Timeout?.TotalSeconds ?? double.PositiveInfinity, -1, 0, 0));

    /// <summary>Books tokens gained at a time. Several gained together count as that many that came evenly since the one before.</summary>
    public void Gain(in TokenGain gain, double now)
    {
        ref Times times = ref CollectionsMarshal.AsSpan(_times)[(int)gain.Sequence.Id];
        int count = gain.Count;
        if (times.First < 0)
        {
            times.First = now;
            _first.Add(now - times.Arrival);
            times.Last = now;
            count--;
        }
        if (count > 0)
        {
            double gap = (now - times.Last) / count;
            times.LongestGap = Math.Max(times.LongestGap, gap);
            _between.Add(gap, count);
        }
        times.Last = now;
        if (gain.Sequence.Status == SequenceStatus.Finished) End(times);
    }

    private void End(in Times times)
    {
        Ended++;
        _whole.Add(times.Last - times.Arrival);
        bool good = times.First - times.Arrival <= _firstTarget && times.LongestGap <= _gapTarget && times.Last - times.Arrival <= times.Timeout;
        if (good) Good++;
    }
}
