using KernelForge.Inference;

namespace KernelForge.Tests;

public class QueueOrderTests
{
    [Fact]
    public void Priority_RandomEntries_GoByPriorityThenDeadlineThenArrival()
    {
        var random = new Random(1);
        QueueEntry[] entries = [.. Enumerable.Range(0, 500).Select(i => new QueueEntry(i, 10, 10)
        {
            Priority = random.Next(-3, 4), Deadline = random.Next(3) == 0 ? null : TimeSpan.FromSeconds(random.Next(5)),
        })];

        Assert.Equal(
            entries.OrderByDescending(entry => entry.Priority).ThenBy(entry => entry.Deadline ?? TimeSpan.MaxValue).ThenBy(entry => entry.Arrival),
            Sorted(new PriorityOrder(), entries));
    }

    [Fact]
    public void Priority_OutOfRangeOrKeysOfAnotherOrder_StayApart()
    {
        var order = new PriorityOrder(new ArrivalOrder());
        QueueEntry[] expected =
        [
            new(2, 1, 1) { Priority = int.MaxValue }, new(7, 1, 1) { Priority = 127 }, new(5, 1, 1) { Priority = 1 }, new(1, 1, 1), new(3, 1, 1),
            new(0, 1, 1) { Priority = int.MinValue }, new(4, 1, 1) { Priority = -127 },
        ];

        Assert.Equal(expected, Sorted(order, [.. expected.Reverse()]));
    }

    [Fact]
    public void Deadline_SomeHavePassed_GoLast()
    {
        TimeSpan now = TimeSpan.FromSeconds(10);
        QueueEntry late = Due(0, 9, now), soon = Due(1, 11, now), later = Due(2, 30, now), open = new(3, 1, 1) { Now = now };

        Assert.Equal([soon, later, open, late], Sorted(new DeadlineOrder(), late, soon, later, open));
        Assert.Equal([late, soon, later, open], Sorted(new DeadlineOrder(lateLast: false), late, soon, later, open));
        Assert.True(new PriorityOrder(new DeadlineOrder()).Rekeys);
        Assert.False(new PriorityOrder().Rekeys);

        static QueueEntry Due(long arrival, int seconds, TimeSpan now) => new(arrival, 1, 1) { Deadline = TimeSpan.FromSeconds(seconds), Now = now };
    }

    [Fact]
    public void Aged_StreamOfHigherPriorities_IsOvertakenOnlyWithinTheHeadStart()
    {
        // One server, a request of priority 3 every second for ever, and one of priority 0 at 10.5 s: each level is worth 5 s.
        var order = new AgedOrder(TimeSpan.FromSeconds(5));
        long key = order.KeyOf(At(10.5, 0));
        int overtaking = Enumerable.Range(11, 100).Count(second => order.KeyOf(At(second, 3)) < key);

        Assert.Equal(15, overtaking); // those of the 15 s after it
        Assert.True(order.KeyOf(At(9, 0)) < key);
        Assert.Throws<ArgumentException>(() => new AgedOrder(TimeSpan.FromSeconds(-1)));

        static QueueEntry At(double seconds, int priority) => new(0, 1, 1) { ArrivedAt = TimeSpan.FromSeconds(seconds), Priority = priority };
    }

    [Fact]
    public void Aged_InAScheduler_ALowPriorityStartsInTime()
    {
        var run = new SchedulerRun(Options(new AgedOrder(TimeSpan.FromSeconds(1))));
        Sequence low = run.Add(Request(0, priority: 0))[0], high = run.Add(Request(1, priority: 5))[0];
        int starved = 0;
        for (int second = 1; low.Status != SequenceStatus.Finished; second++)
        {
            run.Scheduler.Now = TimeSpan.FromSeconds(second);
            run.Add(Request(1 + second, priority: 5));
            run.Add(Request(1000 + second, priority: 5));
            run.Step();
            starved++;
            Assert.InRange(starved, 1, 2 * 6 * 5 + 10); // two each second for 5 s, of five steps each, go before it
        }
        Assert.True(high.Status == SequenceStatus.Finished);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4)]
    public void Fair_TenantsThatWaitAllTheTime_DifferByNoMoreThanARequestEach(int seed)
    {
        var random = new Random(seed);
        string[] tenants = ["a", "b", "c"];
        var weights = new Dictionary<string, double> { ["a"] = 1, ["b"] = 2.5, ["c"] = 0.5 };
        var order = new FairOrder(weights);
        int[] longest = [200, 40, 90];
        List<(long Key, QueueEntry Entry)> waiting = [];
        for (int i = 0; i < 600; i++)
        {
            int tenant = random.Next(3);
            var entry = new QueueEntry(i, 1, random.Next(1, longest[tenant])) { Tenant = tenants[tenant] };
            waiting.Add((order.KeyOf(entry), entry));
        }

        Dictionary<string, List<double>> served = tenants.ToDictionary(tenant => tenant, _ => new List<double> { 0 });
        while (tenants.All(tenant => waiting.Any(item => item.Entry.Tenant == tenant)))
        {
            (long Key, QueueEntry Entry) next = waiting.MinBy(item => (item.Key, item.Entry.Arrival));
            waiting.Remove(next);
            order.Started(next.Entry, next.Key);
            foreach (string tenant in tenants)
                served[tenant].Add(served[tenant][^1] + (tenant == next.Entry.Tenant ? (next.Entry.PromptLength + next.Entry.MaxTokens) / weights[tenant] : 0));
        }

        Assert.True(served["a"].Count > 150, "Too few were served to tell.");
        for (int one = 0; one < 3; one++)
            for (int other = 0; other < one; other++)
                AssertBound(served[tenants[one]], served[tenants[other]], longest[one] / weights[tenants[one]] + longest[other] / weights[tenants[other]]);
    }

    [Fact]
    public void Fair_OneSendsAHundredTimesAsMuch_TheOtherWaitsForOneRequest()
    {
        var run = new SchedulerRun(Options(new FairOrder()));
        for (int i = 0; i < 100; i++) run.Add(Request(i, tenant: "flood"));
        for (int i = 0; i < 60; i++) run.Step();
        Sequence[] few = [.. Enumerable.Range(0, 5).Select(i => run.Add(Request(1000 + i, tenant: "few"))[0])];
        int before = run.All.Count(sequence => sequence.Status == SequenceStatus.Finished);

        while (few[^1].Status != SequenceStatus.Finished) run.Step();

        // They take turns: the running one, and one of the flood beside each of the few.
        Assert.InRange(run.All.Count(sequence => sequence.Status == SequenceStatus.Finished) - before - 5, 1, 6);
        run.Finish();
    }

    [Fact]
    public void Fair_ManyTenantsThatCameAndWent_AreForgotten()
    {
        var order = new FairOrder();
        for (int i = 0; i < 100_000; i++)
        {
            var entry = new QueueEntry(i, 10, 10) { Tenant = $"t{i}" };
            order.Started(entry, order.KeyOf(entry));
        }

        Assert.InRange(order.Tenants, 1, 512);
    }

    [Fact]
    public void Fair_NewTenantsWithoutEnd_DoNotKeepAnOldOneWaiting()
    {
        var order = new FairOrder();
        order.KeyOf(Of(0));
        long second = order.KeyOf(Of(0));
        int overtaken = 0;
        for (long key = order.KeyOf(Of(1)); key < second; key = order.KeyOf(Of(overtaken + 1)))
        {
            order.Started(Of(overtaken + 1), key);
            Assert.InRange(++overtaken, 1, 500);
        }

        Assert.InRange(overtaken, 1, 500);

        static QueueEntry Of(int tenant) => new(tenant, 10, 10) { Tenant = $"t{tenant}" };
    }

    [Fact]
    public void Fair_WithinPriorities_GoesByPriorityFirst()
    {
        var order = new PriorityOrder(new FairOrder());
        var entries = (QueueEntry[])
        [
            new(0, 50, 50) { Tenant = "a" }, new(1, 50, 50) { Tenant = "a" }, new(2, 50, 50) { Tenant = "b" }, new(3, 50, 50) { Tenant = "a", Priority = 1 },
        ];

        Assert.Equal([3, 0, 2, 1], Sorted(order, entries).Select(entry => entry.Arrival));
    }

    [Fact]
    public void Fair_WeightThatIsNone_Throws() => Assert.Contains(
        "tenant 'x' must be more than 0, not 0", Assert.Throws<ArgumentException>(() => new FairOrder(new Dictionary<string, double> { ["x"] = 0 })).Message, StringComparison.Ordinal);

    /// <summary>Over every interval.</summary>
    private static void AssertBound(List<double> one, List<double> other, double bound)
    {
        for (int from = 0; from < one.Count; from++)
            for (int to = from + 1; to < one.Count; to++)
                Assert.InRange(Math.Abs(one[to] - one[from] - other[to] + other[from]), 0, bound + 1);
    }

    private static QueueEntry[] Sorted(IQueueOrder order, params QueueEntry[] entries) =>
        [.. entries.Select(entry => (Key: order.KeyOf(entry), Entry: entry)).OrderBy(item => item.Key).ThenBy(item => item.Entry.Arrival).Select(item => item.Entry)];

    private static SchedulerOptions Options(IQueueOrder order) => new() { BlockCount = 64, BlockSize = 4, ContextLength = 64, MaxSequences = 1, Order = order };

    private static Request Request(int from, int priority = 0, string tenant = "") =>
        new([from, from + 1, from + 2], new SamplingOptions { MaxTokens = 5, IgnoreEndToken = true }) { Priority = priority, Tenant = tenant };
}
