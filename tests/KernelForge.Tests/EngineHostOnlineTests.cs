using KernelForge.Inference;

namespace KernelForge.Tests;

public class EngineHostOnlineTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60); // nothing may hang

    [Fact]
    public async Task WhenFull_Reject_SaysHowManyWaitAndTakesMoreLater()
    {
        using var gate = new SemaphoreSlim(0);
        await using var host = new EngineHost(Held(gate, maxSequences: 1), new EngineHostOptions { QueueCapacity = 2, WhenFull = WhenFull.Reject });
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(TestEngines.Fixed(3, 1));
        await UntilStarted(host, gate);
        Task<IReadOnlyList<Completion>>[] waiting = [host.CompleteAsync(TestEngines.Fixed(3, 2)), host.CompleteAsync(TestEngines.Fixed(3, 3))];

        var refusal = await Assert.ThrowsAsync<QueueFullException>(() => host.CompleteAsync(TestEngines.Fixed(3, 4)));

        Assert.Equal((2, 2, null), (refusal.Waiting, refusal.Limit, refusal.Tenant));
        Assert.Contains("2 requests wait, 2 may", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(2, host.Waiting);
        gate.Release(1000);
        await Task.WhenAll([running, .. waiting]).WaitAsync(Limit);
        await host.CompleteAsync(TestEngines.Fixed(3, 4)).WaitAsync(Limit);
    }

    [Fact]
    public async Task TenantCapacity_OneFillsItsOwn_OthersStillEnter()
    {
        using var gate = new SemaphoreSlim(0);
        var options = new EngineHostOptions { QueueCapacity = 10, TenantCapacity = 2, WhenFull = WhenFull.Reject };
        await using var host = new EngineHost(Held(gate, maxSequences: 1), options);
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(TestEngines.Fixed(3, 1));
        await UntilStarted(host, gate);
        List<Task<IReadOnlyList<Completion>>> accepted = [host.CompleteAsync(Of("a", 2)), host.CompleteAsync(Of("a", 3))];

        var refusal = await Assert.ThrowsAsync<QueueFullException>(() => host.CompleteAsync(Of("a", 4)));
        accepted.Add(host.CompleteAsync(Of("b", 5)));

        Assert.Equal((2, 2, "a"), (refusal.Waiting, refusal.Limit, refusal.Tenant));
        Assert.Contains("tenant 'a'", refusal.Message, StringComparison.Ordinal);
        gate.Release(1000);
        await Task.WhenAll(accepted).WaitAsync(Limit);
        await running;
    }

    [Fact]
    public async Task WhenFull_Wait_ATenantAtItsLimitKeepsNobodyElseOut()
    {
        using var gate = new SemaphoreSlim(0);
        await using var host = new EngineHost(Held(gate, maxSequences: 1), new EngineHostOptions { QueueCapacity = 3, TenantCapacity = 1 });
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(TestEngines.Fixed(3, 1));
        await UntilStarted(host, gate);

        Task<IReadOnlyList<Completion>>[] a = [.. Enumerable.Range(0, 5).Select(i => host.CompleteAsync(Of("a", i)))];
        Task<IReadOnlyList<Completion>> b = host.CompleteAsync(Of("b", 9));

        Assert.Equal(2, host.Waiting); // one of a, and b; four of a are at the door
        gate.Release(1000);
        await Task.WhenAll([running, b, .. a]).WaitAsync(Limit);
        Assert.Equal(0, host.Waiting);
    }

    [Fact]
    public async Task Timeout_AtTheDoorOfAFullHost_EndsAtOnce()
    {
        var time = new ManualTime();
        using var gate = new SemaphoreSlim(0);
        await using var host = new EngineHost(Held(gate, maxSequences: 1, time), queueCapacity: 1);
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(TestEngines.Fixed(3, 1));
        await UntilStarted(host, gate);
        Task<IReadOnlyList<Completion>> waiting = host.CompleteAsync(TestEngines.Fixed(3, 2));
        Task<IReadOnlyList<Completion>> late = host.CompleteAsync(WithTimeout(50, 2, samples: 2));
        Assert.False(late.IsCompleted);

        time.AdvanceMs(50); // no step runs

        IReadOnlyList<Completion> ends = await late.WaitAsync(Limit);
        Assert.Equal([FinishReason.TimedOut, FinishReason.TimedOut], ends.Select(end => end.FinishReason));
        Assert.All(ends, end => Assert.Empty(end.TokenIds));
        gate.Release(1000);
        await Task.WhenAll(running, waiting).WaitAsync(Limit);
    }

    [Fact]
    public async Task Timeout_CountsFromTheCall_AndKeepsWhatWasGenerated()
    {
        var time = new ManualTime();
        using var gate = new SemaphoreSlim(0);
        await using var host = new EngineHost(Held(gate, maxSequences: 1, time, stepMs: 10));
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(TestEngines.Fixed(5, 1));
        await UntilStarted(host, gate);
        Task<IReadOnlyList<Completion>> late = host.CompleteAsync(WithTimeout(100, 2, samples: 1));

        gate.Release(1000);

        Completion end = (await late.WaitAsync(Limit))[0];
        Assert.Equal(FinishReason.TimedOut, end.FinishReason);
        Assert.InRange(end.TokenIds.Count, 5, 8); // 100 ms less what the other one took
        Assert.Equal(5, (await running)[0].TokenIds.Count);
        await host.StopAsync().WaitAsync(Limit);
        Assert.Equal((0, 1L), (host.Counters.BlocksInUse, host.Latencies.TimedOut));
    }

    [Fact]
    public async Task Order_Priorities_StartFirstWhateverTheArrival()
    {
        using var gate = new SemaphoreSlim(0);
        List<int> started = [];
        SchedulerOptions options = TestEngines.Options with { MaxSequences = 1, Order = new PriorityOrder() };
        await using var host = new EngineHost(TestEngines.Create(options, inner => new PriorityRunner(new ObservedRunner(inner, _ => gate.Wait()), started)));
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(Of(priority: 0));
        await UntilStarted(host, gate);
        Task[] all = [.. Enumerable.Range(1, 6).Select(priority => host.CompleteAsync(Of(priority)))];

        gate.Release(1000);

        await Task.WhenAll([running, .. all]).WaitAsync(Limit);
        Assert.Equal([0, 6, 5, 4, 3, 2, 1], started);

        static Request Of(int priority) => new([10 + priority], TestEngines.Fixed(3, 1).Sampling) { Priority = priority };
    }

    [Fact]
    public async Task Counters_AfterWork_ShowTimesAndReads()
    {
        await using var host = new EngineHost(TestEngines.Create());

        await Task.WhenAll(Enumerable.Range(0, 10).Select(i => host.CompleteAsync(TestEngines.Fixed(4, i)))).WaitAsync(Limit);
        await host.StopAsync().WaitAsync(Limit);

        LatencyCounters times = host.Latencies;
        Assert.Equal((10L, 30L, 0L), (times.TimeToFirstToken.Count, times.TimeBetweenTokens.Count, times.TimedOut));
        Assert.True(times.TimeToFirstToken.P50 > TimeSpan.Zero && times.TimeToFirstToken.P50 <= times.TimeToFirstToken.Max);
        Assert.Equal(default, host.KvReads); // a runner without attention
    }

    [Fact]
    public async Task Constructor_OptionOutOfRange_ThrowsNamingIt()
    {
        foreach ((EngineHostOptions options, string name) in ((EngineHostOptions, string)[])
            [(new() { QueueCapacity = 0 }, "QueueCapacity"), (new() { TenantCapacity = 0 }, "TenantCapacity"), (new() { WhenFull = (WhenFull)7 }, "WhenFull")])
        {
            using Engine engine = TestEngines.Create();
            Assert.Equal(name, Assert.Throws<ArgumentException>(() => new EngineHost(engine, options)).ParamName);
        }
        await Task.CompletedTask;
    }

    [Fact]
    public async Task Callers_ThatComeAndGoAtRandom_LeaveNoPlaceTaken()
    {
        var options = new EngineHostOptions { QueueCapacity = 3, TenantCapacity = 2 };
        await using var host = new EngineHost(TestEngines.Create(TestEngines.Options with { MaxSequences = 2, Order = new PriorityOrder(new FairOrder()) }), options);
        Task[] callers = [.. Enumerable.Range(0, 200).Select(i => Task.Run(async () =>
        {
            using var source = new CancellationTokenSource();
            var request = new Request([i % 61, 1, 2], TestEngines.Fixed(1 + i % 30, 1).Sampling) { Tenant = $"t{i % 3}", Priority = i % 2, Timeout = i % 5 == 0 ? TimeSpan.FromSeconds(50) : null };
            int left = i % 4 == 0 ? i % 7 : int.MaxValue;
            try
            {
                await foreach (TokenEvent _ in host.GenerateAsync(request, source.Token))
                {
                    if (--left <= 0) await source.CancelAsync();
                }
            }
            catch (OperationCanceledException)
            {
            }
        }))];

        await Task.WhenAll(callers).WaitAsync(Limit);
        await host.StopAsync().WaitAsync(Limit);

        Assert.Equal((0, 0, 0, 0), (host.Waiting, host.Counters.Running, host.Counters.Waiting, host.Counters.BlocksInUse));
    }

    /// <summary>An engine whose steps wait for the gate.</summary>
    private static Engine Held(SemaphoreSlim gate, int maxSequences, ManualTime? time = null, double stepMs = 0, IQueueOrder? order = null) => TestEngines.Create(
        TestEngines.Options with { MaxSequences = maxSequences, Order = order ?? new ArrivalOrder() },
        inner => new ObservedRunner(inner, _ =>
        {
            gate.Wait();
            time?.AdvanceMs(stepMs);
        }),
        clock: time);

    /// <summary>Lets one step pass and waits until the one request has left the queue.</summary>
    private static async Task UntilStarted(EngineHost host, SemaphoreSlim gate)
    {
        gate.Release();
        for (int tries = 0; host.Waiting > 0; tries++)
        {
            Assert.True(tries < 60_000, "The first request does not start.");
            await Task.Delay(1);
        }
    }

    private static Request Of(string tenant, int token) => new([token, 3, 4], TestEngines.Fixed(3, 1).Sampling) { Tenant = tenant };

    private static Request WithTimeout(double milliseconds, int token, int samples) =>
        new([token], TestEngines.Fixed(50, 1).Sampling with { N = samples }) { Timeout = TimeSpan.FromMilliseconds(milliseconds) };

    /// <summary>Notes the priority of each sequence that it sees first.</summary>
    private sealed class PriorityRunner(IStepRunner inner, List<int> started) : IStepRunner
    {
        public int MaxTokensPerStep => inner.MaxTokensPerStep;

        public StepResult Run(StepPlan plan)
        {
            int priority = plan.Rows[0].Sequence.Request.Priority;
            if (started.Count == 0 || started[^1] != priority) started.Add(priority);
            return inner.Run(plan);
        }
    }
}
