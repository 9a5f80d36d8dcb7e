using KernelForge.Inference;

namespace KernelForge.Tests;

public class PrefixPinsTests
{
    private static readonly SchedulerOptions Options = new() { BlockCount = 24, BlockSize = 4, ContextLength = 96, TokenBudget = 64 };

    [Fact]
    public void KeepFor_NextTurnInTime_FindsAllOfItEvenWhenMemoryIsWanted()
    {
        var run = new SchedulerRun(Options);
        Sequence first = run.Add(Turn("chat", 12, 5, keepMs: 1000))[0];
        FinishAll(run);
        Assert.Equal((1, 4), (run.Scheduler.Counters.TurnsKept, run.Scheduler.Counters.BlocksInUse)); // 16 of 17 tokens have KV

        // Others want all blocks but two, one after the other; kept blocks are not theirs.
        for (int i = 0; i < 3; i++) Occupy(run, 1000 * (i + 1), 64);
        run.Scheduler.Now = TimeSpan.FromMilliseconds(999);
        Sequence next = run.Add(NextTurn(first, 3, 5))[0];
        FinishAll(run);

        Assert.Equal((16, 1L, 0), (next.CachedLength, run.Scheduler.Counters.TurnsResumed, run.Scheduler.Counters.TurnsKept));
        Assert.Equal(0, run.Scheduler.Counters.Preemptions);
        run.Finish();
    }

    [Fact]
    public void KeepFor_TimeIsOver_BlocksAreIdleAgain()
    {
        var run = new SchedulerRun(Options);
        run.Add(Turn("chat", 12, 5, keepMs: 1000));
        FinishAll(run);
        Occupy(run, 1000, 3);
        Assert.Equal(1, run.Scheduler.Counters.TurnsKept);

        run.Scheduler.Now = TimeSpan.FromMilliseconds(1000);
        Occupy(run, 2000, 3);

        Assert.Equal((0, 0), (run.Scheduler.Counters.TurnsKept, run.Scheduler.Counters.BlocksInUse));
        run.Finish();
    }

    [Fact]
    public void MemoryIsShort_TheOneWorthLeastGoesFirstAndNobodyIsPreempted()
    {
        var run = new SchedulerRun(Options);
        run.Add(Turn("short", 12, 5, keepMs: 10_000)); // 4 blocks
        FinishAll(run);
        run.Add(Turn("long", 100, 24, 5, keepMs: 10_000)); // 7 blocks
        FinishAll(run);
        Assert.Equal((2, 11), (run.Scheduler.Counters.TurnsKept, run.Scheduler.Counters.BlocksInUse));

        Occupy(run, 1000, 60); // 15 of 13 blocks

        Assert.Equal((1, 7), (run.Scheduler.Counters.TurnsKept, run.Scheduler.Counters.BlocksInUse));
        Occupy(run, 2000, 90); // 23
        Assert.Equal((0, 0L), (run.Scheduler.Counters.TurnsKept, run.Scheduler.Counters.Preemptions));
        run.Finish();
    }

    [Fact]
    public void SequenceWaits_OthersRun_WhatIsKeptMakesRoom()
    {
        var run = new SchedulerRun(Options);
        run.Add(Turn("short", 12, 5, keepMs: 10_000)); // 4 blocks
        run.Add(Turn("long", 100, 24, 5, keepMs: 10_000)); // 7 blocks
        FinishAll(run);
        Sequence runs = run.Add(new Request(Enumerable.Range(1000, 20).ToArray(), Sampling(12)))[0]; // 8 blocks at its end, of 13
        run.Step();
        Sequence waits = run.Add(new Request(Enumerable.Range(2000, 28).ToArray(), Sampling(4)))[0]; // 8 blocks

        run.Step();

        Assert.Equal((SequenceStatus.Running, SequenceStatus.Running, 1), (runs.Status, waits.Status, run.Scheduler.Counters.TurnsKept));
        run.Finish();
    }

    [Fact]
    public void NextTurnWaits_ItsBlocksStayBeyondTheirTimeUntilItStartsOrIsCancelled()
    {
        var run = new SchedulerRun(Options with { MaxSequences = 1 });
        Sequence first = run.Add(Turn("chat", 12, 5, keepMs: 100))[0];
        FinishAll(run);
        Sequence other = run.Add(new Request(Enumerable.Range(1000, 4).ToArray(), Sampling(30)))[0];
        run.Step();
        Sequence next = run.Add(NextTurn(first, 3, 5))[0];
        run.Scheduler.Now = TimeSpan.FromSeconds(10);
        run.Step();
        Assert.Equal(1, run.Scheduler.Counters.TurnsKept);

        run.Scheduler.Cancel(next);

        Assert.Equal((0, SequenceStatus.Running), (run.Scheduler.Counters.TurnsKept, other.Status));
        run.Finish();
    }

    [Theory]
    [InlineData(FinishReason.Cancelled), InlineData(FinishReason.TimedOut)]
    public void Ended_ByOthersThanTheModel_IsNotKept(FinishReason reason)
    {
        var run = new SchedulerRun(Options);
        Sequence sequence = run.Add(Turn("chat", 12, 20, keepMs: 100))[0];
        run.Step();
        run.Step();

        run.Scheduler.Finish(sequence, reason);

        Assert.Equal((0, 0), (run.Scheduler.Counters.TurnsKept, run.Scheduler.Counters.BlocksInUse));
        run.Finish();
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4), InlineData(5), InlineData(6)]
    public void Operations_Random_NoLeakNoDeadlockNoPreemption(int seed)
    {
        var random = new Random(seed);
        IKeepAlive? policy = seed % 2 == 0 ? new GainKeepAlive(new LinearStepTime(0, 0, 1e-3, 0, 0)) : null;
        var run = new SchedulerRun(Options with { BlockCount = 48, MaxSequences = 4, KeepAlive = policy, PrefixCache = seed != 5 });
        var last = new Dictionary<string, Sequence>();
        for (int step = 0; step < 1500; step++)
        {
            run.Scheduler.Now += TimeSpan.FromMilliseconds(random.Next(40));
            string session = $"s{random.Next(12)}";
            bool isIdle = !last.TryGetValue(session, out Sequence? before) || before.Status == SequenceStatus.Finished;
            if (random.Next(10) == 0 && isIdle && run.Scheduler.Counters.Waiting < 8)
            {
                int keep = random.Next(3) * 500;
                bool goesOn = before is { Length: < 50 } && random.Next(4) > 0;
                last[session] = goesOn
                    ? run.Add(NextTurn(before!, random.Next(1, 9), random.Next(1, 20), keep))[0]
                    : run.Add(Turn(session, random.Next(4) * 100, random.Next(1, 40), random.Next(1, 30), policy is null ? keep : null))[0];
            }
            if (random.Next(25) == 0 && last.Count > 0) run.Scheduler.Cancel(last.Values.ElementAt(random.Next(last.Count)));
            run.Step();
        }

        SchedulerCounters counters = run.Scheduler.Counters;
        Assert.True(seed == 5 ? counters.TurnsResumed == 0 : counters.TurnsResumed > 10, $"{counters.TurnsResumed} turns found what was kept.");
        Assert.Equal(0, counters.Preemptions);
        run.Finish();
        foreach (Sequence sequence in run.All.Where(sequence => sequence.FinishReason != FinishReason.Cancelled))
            Assert.Equal(HashRunner.Expected(sequence.Request, 0, Options.ContextLength), sequence.OutputTokens.ToArray());
    }

    private static void FinishAll(SchedulerRun run)
    {
        while (run.Scheduler.HasWork) Assert.False(run.Step().IsEmpty, "There is work, and the plan is empty.");
    }

    private static void Occupy(SchedulerRun run, int from, int tokens)
    {
        run.Add(new Request(Enumerable.Range(from, tokens).ToArray(), Sampling(1)));
        FinishAll(run);
    }

    private static Request Turn(string session, int length, int maxTokens, double? keepMs) => Turn(session, 0, length, maxTokens, keepMs);

    private static Request Turn(string session, int from, int length, int maxTokens, double? keepMs) =>
        new(Enumerable.Range(from, length).ToArray(), Sampling(maxTokens)) { Session = session, KeepFor = keepMs is { } ms ? TimeSpan.FromMilliseconds(ms) : null };

    private static Request NextTurn(Sequence before, int more, int maxTokens, double? keepMs = null) =>
        new([.. before.Tokens, .. Enumerable.Range(500, more)], Sampling(maxTokens))
        {
            Session = before.Request.Session, KeepFor = keepMs is { } ms ? TimeSpan.FromMilliseconds(ms) : null,
        };

    private static SamplingOptions Sampling(int maxTokens) => new() { MaxTokens = maxTokens, IgnoreEndToken = true };
}
