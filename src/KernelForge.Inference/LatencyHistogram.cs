using System.Numerics;

namespace KernelForge.Inference;

/// <summary>Durations in a few numbers. Percentiles are at most 3.2 % above the true ones, and never above <paramref name="Max"/>.</summary>
/// <param name="Count">How many there were.</param>
/// <param name="Mean">Their mean.</param>
/// <param name="P50">What half of them do not exceed.</param>
/// <param name="P90">What 90 of 100 do not exceed.</param>
/// <param name="P99">What 99 of 100 do not exceed.</param>
/// <param name="Max">The longest.</param>
public readonly record struct LatencySummary(long Count, TimeSpan Mean, TimeSpan P50, TimeSpan P90, TimeSpan P99, TimeSpan Max);

/// <summary>
/// Counts durations in buckets, 32 for each doubling, in 15 KiB however many there are. One thread adds; any thread may read meanwhile and then may miss the latest.
/// </summary>
public sealed class LatencyHistogram
{
    private const int SubBits = 5, Sub = 1 << SubBits;

    private readonly long[] _counts = new long[(64 - SubBits) * Sub];
    private long _count, _ticks, _max;

    /// <summary>Durations counted.</summary>
    public long Count => Volatile.Read(ref _count);

    /// <summary>The longest.</summary>
    public TimeSpan Max => TimeSpan.FromTicks(Volatile.Read(ref _max));

    /// <summary>Their mean; 0 when there are none.</summary>
    public TimeSpan Mean => TimeSpan.FromTicks(Volatile.Read(ref _ticks) / Math.Max(1, Count));

    /// <summary>The numbers of now.</summary>
    public LatencySummary Summary => new(Count, Mean, Percentile(50), Percentile(90), Percentile(99), Max);

    /// <summary>Counts a duration; one below 0 counts as 0.</summary>
    public void Add(TimeSpan duration)
    {
        long ticks = Math.Max(0, duration.Ticks);
        Volatile.Write(ref _max, Math.Max(_max, ticks));
        Volatile.Write(ref _ticks, _ticks + ticks);
        Volatile.Write(ref _counts[BucketOf(ticks)], _counts[BucketOf(ticks)] + 1);
        Volatile.Write(ref _count, _count + 1);
    }

    /// <summary>What so many of 100 durations do not exceed, at most 3.2 % too long; 0 when there are none. Throws when not in [0, 100].</summary>
    public TimeSpan Percentile(double percent)
    {
        if (!(percent is >= 0 and <= 100)) throw new ArgumentOutOfRangeException(nameof(percent), percent, "A percentile is in [0, 100].");
        long wanted = Math.Max(1, (long)Math.Ceiling(Count * percent / 100)), seen = 0;
        for (int bucket = 0; bucket < _counts.Length; bucket++)
        {
            seen += Volatile.Read(ref _counts[bucket]);
            if (seen >= wanted) return TimeSpan.FromTicks(Math.Min(LastOf(bucket), Max.Ticks));
        }
        return Max;
    }

    /// <summary>Below 64 ticks every number has its bucket; from there on the leading 6 bits decide.</summary>
    private static int BucketOf(long ticks)
    {
        int shift = Math.Max(0, BitOperations.Log2((ulong)ticks) - SubBits);
        return shift * Sub + (int)(ticks >> shift);
    }

    private static long LastOf(int bucket)
    {
        int shift = Math.Max(0, bucket / Sub - 1);
        long first = (long)(bucket - shift * Sub) << shift;
        return first + (1L << shift) - 1;
    }
}
