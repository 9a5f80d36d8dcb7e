using KernelForge.Inference;

namespace KernelForge.Tests;

public class ShortLongTests
{
    private static readonly TimeSpan Bound = TimeSpan.FromMilliseconds(50);

    [Fact]
    public void Order_SameTime_ShortOnesFirst()
    {
        var run = new SchedulerRun(Options(new ShortLongOrder(4, Bound)));
        Sequence longOne = run.Add(PromptOf(5)).Single(), shortOne = run.Add(PromptOf(4)).Single();

        run.Step();

        Assert.NotEqual(SequenceStatus.Waiting, shortOne.Status);
        Assert.Equal(SequenceStatus.Waiting, longOne.Status);
        run.Finish();
    }

    [Fact]
    public void Order_EndlessShortOnes_LongOneWaitsNoLongerThanItsBound()
    {
        var run = new SchedulerRun(Options(new ShortLongOrder(4, Bound)));
        Sequence longOne = run.Add(PromptOf(9)).Single();
        int millisecond = 0;
        for (; longOne.Status == SequenceStatus.Waiting && millisecond < 1000; millisecond++)
        {
            run.Scheduler.Now = TimeSpan.FromMilliseconds(millisecond);
            run.Add(PromptOf(3));
            run.Add(PromptOf(3)); // two come for each that is served
            run.Step();
        }
        Assert.InRange(millisecond, 50, 51 + 2 * 51); // every short one that came within the bound goes before it, a step each
        run.Finish();
    }

    [Fact]
    public void Threshold_Roofline_IsWhereArithmeticTakesOver()
    {
        Assert.InRange(ShortLongOrder.ThresholdOf(new Roofline(), 8192), 320 - 1, 320 + 1); // a quarter beyond 256
        Assert.Equal(100, ShortLongOrder.ThresholdOf(new Roofline(), 100));
    }

    [Fact]
    public void Window_RandomArrivals_NoDeadlineIsMissed()
    {
        var random = new Random(12);
        int waited = 0;
        for (int round = 0; round < 200; round++)
        {
            var window = new ShortBatchWindow(TimeSpan.FromMilliseconds(1 + random.Next(40)), TimeSpan.FromTicks(random.Next(2000)));
            waited += ServeAll(window, random, batchSize: 1 + random.Next(8));
        }
        Assert.InRange(waited, 200, int.MaxValue); // windows do hold batches back
    }

    [Fact]
    public void Window_Cases_AreTheSmallestOfItsLimits()
    {
        var window = new ShortBatchWindow(TimeSpan.FromMilliseconds(6), TimeSpan.FromMilliseconds(1));
        var batch = new ShortBatch(2, 4, ArrivalsPerSecond: 1000, TimeSpan.Zero, Slack: null, Service: TimeSpan.FromMilliseconds(10));

        Assert.Equal(TimeSpan.FromMilliseconds(2), window.WaitFor(batch)); // two more at one a millisecond
        Assert.Equal(TimeSpan.FromMilliseconds(6), window.WaitFor(batch with { ArrivalsPerSecond = 1 }));
        Assert.Equal(TimeSpan.FromMilliseconds(1), window.WaitFor(batch with { Waited = TimeSpan.FromMilliseconds(5) }));
        Assert.Equal(TimeSpan.FromMilliseconds(1.5), window.WaitFor(batch with { Slack = TimeSpan.FromMilliseconds(12.5) }));
        Assert.Equal(TimeSpan.Zero, window.WaitFor(batch with { Slack = TimeSpan.FromMilliseconds(11) }));
        Assert.Equal(TimeSpan.Zero, window.WaitFor(batch with { Waiting = 4 }));
        Assert.Equal(TimeSpan.Zero, window.WaitFor(batch with { ArrivalsPerSecond = 0 }));
        Assert.Equal(TimeSpan.FromMilliseconds(6), window.WaitFor(batch with { Waiting = 0 }));
    }

    [Fact]
    public void Options_BadInput_SayWhatIsWrong()
    {
        Assert.Contains("not -1", Assert.Throws<ArgumentException>(() => new ShortLongOrder(-1, Bound)).Message);
        Assert.Contains("not -00:00:00.0500000", Assert.Throws<ArgumentException>(() => new ShortLongOrder(1, -Bound)).Message);
        Assert.Contains("not -00:00:00.0500000", Assert.Throws<ArgumentException>(() => new ShortBatchWindow(-Bound, Bound)).Message);
    }

    /// <summary>
    /// One server, batches in order of arrival. Every prompt could be served in time by starting batches at once: its deadline leaves time for the batch under
    /// way and for its own. Returns how many starts the window put off.
    /// </summary>
    private static int ServeAll(ShortBatchWindow window, Random random, int batchSize)
    {
        TimeSpan service = TimeSpan.FromMilliseconds(2 + random.Next(10)), now = TimeSpan.Zero, margin = TimeSpan.FromMilliseconds(1);
        double rate = random.Next(20, 400);
        List<(TimeSpan At, TimeSpan Deadline)> arrivals = [];
        for (int i = 0; i < 60; i++)
        {
            now += TimeSpan.FromSeconds(-Math.Log(1 - random.NextDouble()) / rate);
            TimeSpan at = arrivals.Count >= batchSize && now < arrivals[^batchSize].At + 2 * service ? arrivals[^batchSize].At + 2 * service : now; // the server keeps up
            arrivals.Add((at, at + 3 * service + margin + TimeSpan.FromMilliseconds(random.Next(30))));
            now = at;
        }

        int next = 0, waited = 0;
        for (now = TimeSpan.Zero; next < arrivals.Count;)
        {
            int waiting = arrivals.Skip(next).TakeWhile(arrival => arrival.At <= now).Count();
            TimeSpan? slack = waiting == 0 ? null : arrivals.Skip(next).Take(waiting).Min(arrival => arrival.Deadline) - now;
            TimeSpan since = waiting == 0 ? TimeSpan.Zero : now - arrivals[next].At;
            TimeSpan wait = waiting == 0 ? TimeSpan.MaxValue : window.WaitFor(new ShortBatch(waiting, batchSize, rate, since, slack, service));
            if (wait > TimeSpan.Zero)
            {
                if (waiting > 0) waited++;
                TimeSpan arrives = next + waiting < arrivals.Count ? arrivals[next + waiting].At : TimeSpan.MaxValue;
                now = wait == TimeSpan.MaxValue || arrives - now < wait ? arrives : now + wait;
                continue;
            }
            int taken = Math.Min(waiting, batchSize);
            now += service;
            for (int i = 0; i < taken; i++, next++) Assert.True(now <= arrivals[next].Deadline, $"Served at {now}, due at {arrivals[next].Deadline}.");
        }
        return waited;
    }

    private static SchedulerOptions Options(IQueueOrder order) => new()
    {
        BlockCount = 64, BlockSize = 4, ContextLength = 64, MaxSequences = 1, Order = order, EndTokenIds = [HashRunner.EndToken], PrefixCache = false,
    };

    private static Request PromptOf(int length) => new([.. Enumerable.Range(1, length)], new SamplingOptions { MaxTokens = 1 });

    private sealed class Roofline : IStepTimeModel
    {
        public double SecondsOf(in StepLoad load) => Math.Max(1, load.PromptTokens / 256.0);
    }
}
