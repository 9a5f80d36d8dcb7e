using KernelForge.Inference;

namespace KernelForge.Tests;

public class LatencyHistogramTests
{
    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void Percentile_RandomDurations_IsWithinABucketOfTheTrueOne(int seed)
    {
        var random = new Random(seed);
        var histogram = new LatencyHistogram();
        long[] ticks = [.. Enumerable.Range(0, 1 + random.Next(5000)).Select(_ => (long)Math.Pow(10, random.NextDouble() * 15))];
        foreach (long duration in ticks) histogram.Add(TimeSpan.FromTicks(duration));
        Array.Sort(ticks);

        foreach (double percent in (double[])[0, 1, 50, 90, 99, 99.9, 100])
        {
            long exact = ticks[Math.Max(1, (int)Math.Ceiling(ticks.Length * percent / 100)) - 1];
            Assert.InRange(histogram.Percentile(percent).Ticks, exact, Math.Min(ticks[^1], (long)(exact * 1.0323) + 1));
        }
        LatencySummary all = histogram.Summary;
        Assert.Equal((ticks.Length, ticks[^1]), (all.Count, all.Max.Ticks));
        Assert.InRange(all.Mean.Ticks, (long)ticks.Average() - 1, (long)ticks.Average() + 1);
    }

    [Fact]
    public void Add_EdgesOfTheRange_AreCounted()
    {
        var histogram = new LatencyHistogram();
        foreach (long ticks in (long[])[long.MinValue, -1, 0, 1, 63, 64, 65, long.MaxValue]) histogram.Add(TimeSpan.FromTicks(ticks));

        Assert.Equal(8, histogram.Count);
        Assert.Equal(TimeSpan.Zero, histogram.Percentile(30));
        Assert.Equal(TimeSpan.MaxValue, histogram.Percentile(100));
    }

    [Fact]
    public void Summary_Empty_IsZero()
    {
        Assert.Equal(default, new LatencyHistogram().Summary);
        Assert.Throws<ArgumentOutOfRangeException>(() => new LatencyHistogram().Percentile(101));
    }

    [Fact]
    public void Add_AllocatesNothing()
    {
        var histogram = new LatencyHistogram();
        Garbage.AssertNone(() => histogram.Add(TimeSpan.FromMilliseconds(3)));
    }
}
