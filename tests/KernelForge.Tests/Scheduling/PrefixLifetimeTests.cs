using KernelForge.Inference;

namespace KernelForge.Tests;

public class PrefixLifetimeTests
{
    private static readonly SchedulerOptions Ample = new() { BlockCount = 64, BlockSize = 4, ContextLength = 128, TokenBudget = 64 };

    [Fact]
    public void Commit_LastSequenceOfAPrefixEnds_FreesIt()
    {
        Request[] requests = [.. Enumerable.Range(0, 3).Select(i => Prompt(shared: 8, own: 5, group: 0, i))];
        SchedulerRun run = Start(Ample with { MaxSequences = 1 }, requests);

        for (int i = 0; i < 3; i++)
        {
            while (run.All[i].Status != SequenceStatus.Finished) run.Step();
            Assert.Equal(i < 2 ? 2 : 0, run.Scheduler.Counters.BlocksCached); // the prefix; their own full block is needed by nobody
        }
        Assert.Equal(64, run.Scheduler.Kv.Pool.FreeCount);
        Assert.Equal(0, run.Scheduler.Counters.Evictions);
    }

    [Theory, InlineData(true, 20, 1), InlineData(false, 12, 4)]
    public void Plan_CacheTooSmall_KeepsThePrefixNeededSoonest(bool planned, int reused, int evictions)
    {
        // A B C A B C, one at a time, 3 blocks each of which 2 are the prefix, in 6 blocks. The first C needs one more: of A and B, B is needed later. Without a
        // plan it takes one of A, given back longest ago, and so on: each takes what comes next.
        Request[] requests = [.. Enumerable.Range(0, 6).Select(i => Prompt(shared: 8, own: 1, group: i % 3, i, maxTokens: 3))];
        SchedulerOptions options = Ample with { BlockCount = 6, MaxSequences = 1 };
        SchedulerRun run = planned ? Start(options, requests, order: new ArrivalOrder()) : new SchedulerRun(options);
        if (!planned) foreach (Request request in requests) run.Add(request);

        run.Finish();

        Assert.Equal((reused, evictions), (run.Scheduler.Counters.PromptTokensReused, run.Scheduler.Counters.Evictions));
    }

    [Fact]
    public void Plan_GroupOrder_ComputesEveryDistinctBlockOnce()
    {
        var random = new Random(4);
        Request[] requests = [.. Enumerable.Range(0, 60).Select(i => Prompt(shared: 16, own: 4 + i % 7, group: i % 10, i))];
        random.Shuffle(requests);
        SchedulerRun run = Start(Ample with { BlockCount = 24, MaxSequences = 3, TokenBudget = 32 }, requests);
        GlobalPrefixPlan plan = run.Scheduler.Options.PrefixPlan!;

        run.Finish();

        Assert.Equal(plan.Shared.Prompt - plan.Shared.Unrestricted, run.Scheduler.Counters.PromptTokensComputed);
        Assert.Equal(0, run.Scheduler.Counters.Evictions);
    }

    [Fact]
    public void Cancel_LastWaitingSequenceOfAPrefix_FreesItAtOnce()
    {
        Request[] requests = [Prompt(8, 1, group: 0, 0), Prompt(8, 1, group: 1, 1), Prompt(8, 1, group: 0, 2)];
        SchedulerRun run = Start(Ample with { MaxSequences = 1 }, requests, order: new ArrivalOrder());
        while (run.All[0].Status != SequenceStatus.Finished) run.Step();
        Assert.Equal(2, run.Scheduler.Counters.BlocksCached);

        run.Scheduler.Cancel(run.All[2]);

        Assert.Equal(0, run.Scheduler.Counters.BlocksCached);
        run.Finish();
    }

    [Fact]
    public void Add_RequestRefused_IsNotWaitedFor()
    {
        Request[] requests = [Prompt(8, 5, group: 0, 0), Prompt(8, 60, group: 0, 1)];
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, 4);
        var run = new SchedulerRun(Ample with { BlockCount = 12, PrefixPlan = plan, Order = plan.OrderPolicy });
        run.Add(requests[0]);
        while (run.Scheduler.HasWork) run.Step();
        Assert.Equal(2, run.Scheduler.Counters.BlocksCached); // the plan's second request may still come

        Assert.Throws<RequestTooLongException>(() => run.Add(requests[1]));

        Assert.Equal(0, run.Scheduler.Counters.BlocksCached);
    }

    [Fact]
    public void Finish_SequenceOutsideThePlan_IsCachedAsEver()
    {
        SchedulerRun run = Start(Ample, [Prompt(8, 5, group: 0, 0)]);
        while (run.Scheduler.HasWork) run.Step();
        Assert.Equal(0, run.Scheduler.Counters.BlocksCached);

        run.Add(Prompt(8, 5, group: 0, 0)); // the same tokens, but another request
        while (run.Scheduler.HasWork) run.Step();

        Assert.Equal(4, run.Scheduler.Counters.BlocksCached);
        run.Finish();
    }

    [Fact]
    public void Finish_TurnOfASession_IsKeptForTheNextTurn()
    {
        SchedulerRun run = Start(Ample, [new Request([.. Enumerable.Range(0, 13)], new SamplingOptions { MaxTokens = 4 }) { Session = "s" }]);
        while (run.Scheduler.HasWork) run.Step();
        Request next = new([.. run.All[0].Tokens, 1, 2, 3], new SamplingOptions { MaxTokens = 4 });

        Sequence turn = run.Add(next)[0];

        run.Finish();
        Assert.Equal(16, turn.CachedLength);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4), InlineData(5), InlineData(6)]
    public void Operations_Random_KeepWhatIsNeededAndNothingElse(int seed)
    {
        var random = new Random(seed);
        Request[] requests = [.. Enumerable.Range(0, 150).Select(i => Prompt(
            shared: 4 * random.Next(4), own: random.Next(1, 14), group: random.Next(4), i,
            maxTokens: random.Next(1, 30), samples: random.Next(8) == 0 ? 3 : 1))];
        var options = Ample with
        {
            BlockCount = 24, TokenBudget = seed % 2 == 0 ? 9 : 30, MaxSequences = 5, MaxTokensPerStep = 1 + seed % 3, Admission = new AggressiveAdmission(),
            EndTokenIds = [HashRunner.EndToken], WaitsForPrefixes = seed % 3 != 0,
        };
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, options.BlockSize);
        IQueueOrder order = seed switch { < 4 => plan.OrderPolicy, < 6 => new ArrivalOrder(), _ => new BlendOrder(plan, 1, 1) };
        var run = new SchedulerRun(options with { PrefixPlan = plan, Order = order }, DraftOutcome.RightForTwo);
        var cancelled = new HashSet<Sequence>();
        int added = seed == 2 ? requests.Length : 40;
        foreach (Request request in requests.Take(added)) run.Add(request);
        while (run.Scheduler.HasWork || added < requests.Length)
        {
            if (added < requests.Length && (random.Next(4) == 0 || !run.Scheduler.HasWork)) run.Add(requests[added++]);
            if (random.Next(4) == 0)
            {
                Sequence victim = run.All[random.Next(run.All.Count)];
                if (victim.Status != SequenceStatus.Finished) cancelled.Add(victim);
                run.Scheduler.Cancel(victim);
                CheckCached(run, requests.Skip(added));
            }
            run.Step();
            CheckCached(run, requests.Skip(added));
        }

        Assert.Equal(options.BlockCount, run.Scheduler.Kv.Pool.FreeCount); // without clearing the cache
        Assert.True(run.Scheduler.Counters.Preemptions > 5, "The operations did not run out of blocks.");
        Assert.True(cancelled.Count > 5, "Hardly anything was cancelled.");
        foreach (Sequence sequence in run.All)
        {
            List<int> expected = HashRunner.Expected(sequence.Request, sequence.SampleIndex, options.ContextLength);
            int[] actual = sequence.OutputTokens.ToArray();
            Assert.Equal(cancelled.Contains(sequence) ? expected.Take(actual.Length) : expected, actual);
        }
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Cancel_EverySequenceAfterEveryStep_LeavesNoBlockBehind(bool groupOrder)
    {
        Request[] requests =
            [.. Enumerable.Range(0, 8).Select(i => Prompt(shared: 4 * (i % 3), own: 3 + i, group: i % 2, i, maxTokens: 9, samples: i == 4 ? 2 : 1))];
        SchedulerOptions tight = Ample with { BlockCount = 9, TokenBudget = 11, Admission = new AggressiveAdmission() };
        bool more = true, preempted = false;
        for (int step = 0; more; step++)
        {
            for (int victim = 0; victim < requests.Length + 1; victim++)
            {
                SchedulerRun run = Start(tight, requests, groupOrder ? null : new ArrivalOrder());
                for (int i = 0; i < step && run.Scheduler.HasWork; i++) run.Step();
                more = run.Scheduler.HasWork;
                run.Scheduler.Cancel(run.All[victim]);
                CheckCached(run, []);
                while (run.Scheduler.HasWork) run.Step();
                Assert.Equal(9, run.Scheduler.Kv.Pool.FreeCount);
                preempted |= run.Scheduler.Counters.Preemptions > 0;
            }
        }
        Assert.True(preempted, "Nothing was preempted.");
    }

    [Fact]
    public void Plan_NobodyWaitsForPrefixes_ComputesThemTwiceAndKeepsOne()
    {
        var run = new SchedulerRun(Ample with { WaitsForPrefixes = false });
        run.Add(Prompt(12, 1, group: 0, 0));
        run.Add(Prompt(12, 1, group: 0, 1));

        Assert.Equal([(0, 0, 13), (1, 0, 13)], run.Step().Rows.ToArray().Select(row => ((int)row.Sequence.Id, row.Start, row.Length)));

        Assert.Equal(run.All[0].Table.Blocks[..3], run.All[1].Table.Blocks[..3]);
        run.Finish();
        Assert.Equal(26, run.Scheduler.Counters.PromptTokensComputed);
    }

    [Fact]
    public void Plan_NobodyWaitsAndNoPrefixCache_SamplesComputeTheirOwnPrompts()
    {
        var run = new SchedulerRun(Ample with { WaitsForPrefixes = false, PrefixCache = false });
        run.Add(new Request([1, 2, 3, 4, 5, 6], new SamplingOptions { N = 2, MaxTokens = 3 }));

        Assert.Equal(2, run.Step().Rows.Length);
        run.Finish();
    }

    [Fact]
    public void Step_SequencesOfAPlanDecodeAndEnd_AllocatesNothing()
    {
        Request[] requests = [.. Enumerable.Range(0, 40).Select(i => Prompt(40, 5, group: i % 4, i, maxTokens: 90 + i))];
        var options = Ample with { BlockCount = 4096, ContextLength = 400, TokenBudget = 4096 };
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, options.BlockSize);
        var scheduler = new Scheduler(options with { PrefixPlan = plan, Order = plan.OrderPolicy });
        var runner = new HashRunner(options.BlockCount, options.BlockSize);
        foreach (Request request in requests) scheduler.Add(request);
        for (int i = 0; i < 95; i++) scheduler.Commit(scheduler.Plan(), runner.Run(scheduler.Plan()));

        long allocated = 0;
        for (int i = 0; i < 30; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            StepPlan step = scheduler.Plan();
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            StepResult result = runner.Run(step);
            before = GC.GetAllocatedBytesForCurrentThread();
            scheduler.Commit(step, result);
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.InRange(scheduler.Counters.Running, 1, 20);
        Assert.Equal(0, allocated);
    }

    /// <summary>Whatever is idle is a prefix of a sequence that waits or has not come yet.</summary>
    private static void CheckCached(SchedulerRun run, IEnumerable<Request> toCome)
    {
        KvBlocks kv = run.Scheduler.Kv;
        List<int> needed = [];
        foreach (Sequence waiting in run.All.Where(sequence => sequence.Status == SequenceStatus.Waiting))
            kv.Tree.Match(waiting.Tokens, (waiting.Length - 1) / 4, needed);
        foreach (Request request in toCome) kv.Tree.Match(request.PromptTokenIds, (request.PromptTokenIds.Length - 1) / 4, needed);
        int[] idle = [.. Enumerable.Range(0, kv.Pool.Capacity).Where(block => kv.Tree.IsReady(block) && kv.Pool.References(block) == 1)];
        Assert.Empty(idle.Except(needed));
    }

    private static SchedulerRun Start(SchedulerOptions options, Request[] requests, IQueueOrder? order = null)
    {
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, options.BlockSize);
        var run = new SchedulerRun(options with { PrefixPlan = plan, Order = order ?? plan.OrderPolicy });
        foreach (Request request in requests) run.Add(request);
        return run;
    }

    /// <summary>A prompt that begins like those of its group and ends like no other.</summary>
    private static Request Prompt(int shared, int own, int group, int number, int maxTokens = 4, int samples = 1) => new(
        [.. Enumerable.Repeat(group, shared), 100 + number, .. Enumerable.Range(0, own - 1)],
        new SamplingOptions { MaxTokens = maxTokens, N = samples, Temperature = samples - 1 });
}
