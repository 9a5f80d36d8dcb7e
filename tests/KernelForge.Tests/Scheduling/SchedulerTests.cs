using KernelForge.Inference;

namespace KernelForge.Tests;

public class SchedulerTests
{
    private static readonly SchedulerOptions Ample = new() { BlockCount = 64, BlockSize = 4, ContextLength = 128, TokenBudget = 64 };

    [Fact]
    public void Plan_BudgetSmallerThanThePrompts_TakesDecodesFirstAndThenChunks()
    {
        var run = new SchedulerRun(Ample with { TokenBudget = 7 });
        run.Add(Prompt(5, from: 0));
        run.Add(Prompt(9, from: 100));

        Assert.Equal([(0, 0, 5, true), (1, 0, 2, false)], Rows(run.Step()));
        Assert.Equal([(0, 5, 1, true), (1, 2, 6, false)], Rows(run.Step()));
        Assert.Equal([(0, 6, 1, true), (1, 8, 1, true)], Rows(run.Step()));
    }

    [Fact]
    public void Plan_DraftsDoNotFitTheBudget_EveryDecodeKeepsItsTokenAndPromptsTheirHalf()
    {
        var run = new SchedulerRun(Ample with { TokenBudget = 12, MaxTokensPerStep = 4 });
        for (int i = 0; i < 4; i++) run.Add(Prompt(3, from: 100 * i, maxTokens: 20));
        run.Step();

        // 4 decodes leave 8: all of it for drafts, or half of it when a prompt wants to be computed.
        Assert.Equal([4, 4, 3, 1], run.Step().Rows.ToArray().Select(row => row.MaxTokens));
        run.Add(Prompt(30, from: 1000));
        StepPlan mixed = run.Step();
        Assert.Equal([4, 2, 1, 1, 0], mixed.Rows.ToArray().Select(row => row.MaxTokens));
        Assert.Equal(4, mixed.Rows[^1].Length);
    }

    [Fact]
    public void Plan_WithoutACommit_PlansTheSameAgain()
    {
        var run = new SchedulerRun(Ample with { TokenBudget = 7 });
        run.Add(Prompt(5, from: 0));
        run.Add(Prompt(9, from: 100));

        (long, int, int, bool)[] first = Rows(run.Scheduler.Plan());
        Assert.Equal(first, Rows(run.Scheduler.Plan()));
        run.Finish();
    }

    [Fact]
    public void Plan_PromptWhoseBlocksAreBeingComputed_WaitsAndSharesThem()
    {
        var run = new SchedulerRun(Ample with { TokenBudget = 8 });
        Sequence owner = run.Add(Prompt(13, from: 0))[0], twin = run.Add(Prompt(13, from: 0))[0];
        Sequence other = run.Add(Prompt(3, from: 100))[0];

        Assert.Equal([(0, 0, 8, false)], Rows(run.Step()));
        // The owner's last 5 tokens; the twin still waits for the third block, and the other one overtakes it.
        Assert.Equal([(0, 8, 5, true), (2, 0, 3, true)], Rows(run.Step()));
        Assert.Equal([(0, 13, 1, true), (2, 3, 1, true), (1, 12, 1, true)], Rows(run.Step()));
        Assert.Equal([(0, 14, 1, true), (1, 13, 1, true), (2, 4, 1, true)], Rows(run.Step())); // decodes go by age, not by admission
        Assert.Equal((0, 12, 0), (owner.CachedLength, twin.CachedLength, other.CachedLength));
        Assert.Equal(13 + 3 + 1, run.Scheduler.Counters.PromptTokensComputed);
        Assert.Equal(12, run.Scheduler.Counters.PromptTokensReused);
    }

    [Fact]
    public void Cancel_OwnerOfBlocksOthersWaitFor_LetsThemCompute()
    {
        var run = new SchedulerRun(Ample with { TokenBudget = 8 });
        Sequence owner = run.Add(Prompt(21, from: 0))[0];
        run.Add(Prompt(21, from: 0));
        run.Step();

        run.Scheduler.Cancel(owner);

        Assert.Equal(FinishReason.Cancelled, owner.FinishReason);
        Assert.Equal([(1, 8, 8, false)], Rows(run.Step())); // what the owner had computed is still shared
        run.Finish();
    }

    [Fact]
    public void Plan_PrefixCacheOff_ComputesEveryPrompt()
    {
        var run = new SchedulerRun(Ample with { PrefixCache = false });
        run.Add(Prompt(13, from: 0));
        run.Add(Prompt(13, from: 0));

        Assert.Equal([(0, 0, 13, true), (1, 0, 13, true)], Rows(run.Step()));
        run.Finish();
        Assert.Equal(0, run.Scheduler.Counters.PromptTokensReused);
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Samples_OfOneRequest_ComputeTheirFullPromptBlocksOnce(bool prefixCache)
    {
        var run = new SchedulerRun(Ample with { PrefixCache = prefixCache });
        run.Add(new Request(Tokens(14, 0), new SamplingOptions { N = 3, Temperature = 1, MaxTokens = 6 }));

        Assert.Equal([(0, 0, 14, true)], Rows(run.Step()));
        Assert.Equal([(0, 14, 1, true), (1, 12, 2, true), (2, 12, 2, true)], Rows(run.Step()));
        run.Finish();
        Assert.Equal(14 + 2 + 2, run.Scheduler.Counters.PromptTokensComputed);
        Assert.Equal(3, run.All.Select(sequence => string.Join(' ', sequence.OutputTokens.ToArray())).Distinct().Count());
    }

    [Fact]
    public void Samples_FirstOneEndsAtOnce_TheOthersStillRun()
    {
        var run = new SchedulerRun(Ample with { PrefixCache = false });
        run.Add(new Request(Tokens(14, 0), new SamplingOptions { N = 3, MaxTokens = 1 }));

        run.Finish();

        Assert.All(run.All, sequence => Assert.Equal(1, sequence.OutputLength));
    }

    [Fact]
    public void Plan_BlocksRunOut_PreemptsTheLatestArrivalToTheFrontOfTheQueue()
    {
        // Three prompts of one block each, four blocks: the second token of the first takes the fourth, the third sequence must go.
        var run = new SchedulerRun(Ample with
        {
            BlockCount = 4, TokenBudget = 12, Admission = new AggressiveAdmission(), PrefixCache = false, MaxSequences = 3,
        });
        for (int i = 0; i < 4; i++) run.Add(Prompt(4, from: 100 * i, maxTokens: i == 0 ? 3 : 5));
        Assert.Equal([(0, 0, 4, true), (1, 0, 4, true), (2, 0, 4, true)], Rows(run.Step()));

        Assert.Equal([(0, 4, 1, true), (1, 4, 1, true)], Rows(run.Step()));

        Assert.Equal([SequenceStatus.Running, SequenceStatus.Running, SequenceStatus.Waiting, SequenceStatus.Waiting], run.All.Select(s => s.Status));
        Assert.Equal(1, run.Scheduler.Counters.Preemptions);
        while (run.All[2].Status == SequenceStatus.Waiting) run.Step();
        Assert.Equal(SequenceStatus.Waiting, run.All[3].Status);
        run.Finish();
        Assert.Equal(4, run.Scheduler.Counters.TokensRecomputed);
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Plan_PolicyThatAlwaysAdmits_PreemptsAndStillComesToAnEnd(bool prefixCache)
    {
        var run = new SchedulerRun(Ample with
        {
            BlockCount = 8, TokenBudget = 16, Admission = new AdmitEverything(), PrefixCache = prefixCache, EndTokenIds = [HashRunner.EndToken],
        });
        for (int i = 0; i < 8; i++) run.Add(Prompt(5 + i, from: 100 * (i % 3), maxTokens: 14));

        run.Finish();

        Assert.True(run.Scheduler.Counters.Preemptions > 8, "The policy did not fill the memory.");
        Assert.All(run.All, sequence => Assert.Equal(HashRunner.Expected(sequence.Request, 0, 128), sequence.OutputTokens.ToArray()));
    }

    [Fact]
    public void Plan_ReserveAll_CountsSharedBlocksOnce()
    {
        // 33 + 8 tokens are 40 slots, 10 blocks, of which two sequences share 8: both fit in 12 blocks and not in 11.
        foreach ((int blocks, int running) in ((int, int)[])[(12, 2), (11, 1)])
        {
            var run = new SchedulerRun(Ample with { BlockCount = blocks });
            run.Add(Prompt(33, from: 0, maxTokens: 8));
            run.Add(Prompt(33, from: 0, maxTokens: 8));
            run.Step();
            run.Step();
            Assert.Equal(running, run.Scheduler.Counters.Running);
            run.Finish();
        }
    }

    [Fact]
    public void Plan_CachedBlocksInTheWay_AreEvictedBeforeAnybodyIsPreempted()
    {
        var run = new SchedulerRun(Ample with { BlockCount = 8 });
        run.Add(Prompt(20, from: 0, maxTokens: 8));
        while (run.Scheduler.HasWork) run.Step();
        Assert.Equal(6, run.Scheduler.Counters.BlocksCached);

        run.Add(Prompt(20, from: 100, maxTokens: 8));
        run.Finish();

        Assert.Equal(0, run.Scheduler.Counters.Preemptions);
        Assert.Equal(7, run.Scheduler.Counters.BlocksPeak);
    }

    [Fact]
    public void Commit_StopTokenInsideAGain_DropsWhatFollows()
    {
        Request probe = Prompt(6, from: 0, maxTokens: 12);
        int stop = HashRunner.Expected(probe, 0, 128)[4]; // the fifth token: second of the second gain of three
        var run = new SchedulerRun(Ample with { MaxTokensPerStep = 3 });
        Sequence sequence = run.Add(new Request(probe.PromptTokenIds, new SamplingOptions { MaxTokens = 12, StopTokenIds = [stop] }))[0];

        run.Finish();

        Assert.Equal(FinishReason.Stop, sequence.FinishReason);
        Assert.Equal(HashRunner.Expected(sequence.Request, 0, 128), sequence.OutputTokens.ToArray());
        Assert.Equal(stop, sequence.OutputTokens[^1]);
    }

    [Fact]
    public void Commit_GainOfThree_LeavesTheLastTokenWithoutKv()
    {
        var run = new SchedulerRun(Ample with { MaxTokensPerStep = 3 });
        Sequence sequence = run.Add(Prompt(6, from: 0, maxTokens: 12))[0];
        run.Step();
        Assert.Equal((7, 6), (sequence.Length, sequence.ComputedLength));

        run.Step();

        Assert.Equal((10, 9), (sequence.Length, sequence.ComputedLength));
    }

    [Fact]
    public void Commit_StopBeforeMinTokens_GoesOn()
    {
        int[] prompt = Tokens(6, 0);
        int stop = HashRunner.Expected(new Request(prompt), 0, 128)[0];
        var run = new SchedulerRun(Ample);
        Sequence sequence = run.Add(new Request(prompt, new SamplingOptions { MaxTokens = 9, MinTokens = 9, StopTokenIds = [stop] }))[0];

        run.Finish();

        Assert.Equal((9, FinishReason.Length), (sequence.OutputLength, sequence.FinishReason!.Value));
    }

    [Fact]
    public void Commit_WrongNumberOfTokens_Throws()
    {
        var scheduler = new Scheduler(Ample);
        scheduler.Add(Prompt(3, from: 0));
        StepPlan plan = scheduler.Plan();
        var result = new StepResult();

        var none = Assert.Throws<InvalidOperationException>(() => scheduler.Commit(plan, result));
        Assert.Contains("gain 1 to 1", none.Message, StringComparison.Ordinal);
        result.Add(0, 1);
        result.Add(0, 2);
        Assert.Throws<InvalidOperationException>(() => scheduler.Commit(plan, result));
    }

    [Fact]
    public void Commit_SequenceCancelledSinceThePlan_IsIgnored()
    {
        var run = new SchedulerRun(Ample);
        Sequence cancelled = run.Add(Prompt(5, from: 0))[0], other = run.Add(Prompt(5, from: 100))[0];
        StepPlan plan = run.Scheduler.Plan();
        StepResult result = run.Runner.Run(plan);

        run.Scheduler.Cancel(cancelled);
        TokenGain[] gains = run.Scheduler.Commit(plan, result).ToArray();

        Assert.Equal([other], gains.Select(gain => gain.Sequence));
        Assert.Equal((0, 5), (cancelled.OutputLength, cancelled.Length));
        run.Finish();
    }

    [Fact]
    public void Commit_LogProbsAskedFor_KeepsOnePerToken()
    {
        var run = new SchedulerRun(Ample with { MaxTokensPerStep = 2 });
        Sequence sequence = run.Add(new Request(Tokens(3, 0), new SamplingOptions { LogProbs = 0, MaxTokens = 5 }))[0];

        run.Finish();

        Assert.Equal(sequence.OutputTokens.ToArray(), sequence.OutputLogProbs!.Select(entry => entry.Chosen.TokenId));
    }

    [Fact]
    public void Add_LimitBeyondTheContext_IsCutToIt()
    {
        var run = new SchedulerRun(Ample with { ContextLength = 10 });
        Sequence sequence = run.Add(Prompt(7, from: 0, maxTokens: 50))[0];

        run.Finish();

        Assert.Equal((3, FinishReason.Length), (sequence.OutputLength, sequence.FinishReason!.Value));
    }

    [Fact]
    public void Add_ManySamplesOfALongPrompt_DoesNotCopyItForEach()
    {
        var scheduler = new Scheduler(Ample with { BlockCount = 4096, ContextLength = 16384 });
        Request Samples() => new(Enumerable.Range(0, 10_000).ToArray(), new SamplingOptions { N = 64, MaxTokens = 1 });
        scheduler.Add(Samples());
        Request request = Samples();

        long before = GC.GetAllocatedBytesForCurrentThread();
        scheduler.Add(request);

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 64 * 1024);
    }

    [Fact]
    public void Add_CannotEverFit_ThrowsWithTheNumbers()
    {
        var tooLong = Assert.Throws<RequestTooLongException>(() => new Scheduler(Ample).Add(Prompt(128, from: 0)));
        Assert.Equal((128, 127), (tooLong.Tokens, tooLong.Limit));

        var scheduler = new Scheduler(Ample with { BlockCount = 5 }); // 20 slots: 21 tokens, the last of which needs none
        var tooMuch = Assert.Throws<RequestTooLongException>(() => scheduler.Add(Prompt(8, from: 0, maxTokens: 14)));
        Assert.Equal((22, 21), (tooMuch.Tokens, tooMuch.Limit));
        scheduler.Add(Prompt(8, from: 0, maxTokens: 13));
    }

    [Fact]
    public void Constructor_OptionOutOfRange_ThrowsNamingIt()
    {
        (SchedulerOptions Options, string Name)[] cases =
        [
            (Ample with { BlockCount = 0 }, "BlockCount"), (Ample with { BlockSize = 0 }, "BlockSize"),
            (Ample with { TokenBudget = 0 }, "TokenBudget"),
            (Ample with { MaxSequences = 0 }, "MaxSequences"), (Ample with { MaxTokensPerStep = 0 }, "MaxTokensPerStep"),
            (Ample with { ContextLength = 1 }, "ContextLength"),
        ];

        foreach ((SchedulerOptions options, string name) in cases)
        {
            var refusal = Assert.Throws<ArgumentException>(() => new Scheduler(options));
            Assert.Contains($"SchedulerOptions.{name} must be", refusal.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void QueueOrder_ShortestFirst_AdmitsTheShortest()
    {
        var run = new SchedulerRun(Ample with { MaxSequences = 1, Order = new ShortestFirst() });
        run.Add(Prompt(9, from: 0));
        run.Add(Prompt(3, from: 100));
        run.Add(Prompt(6, from: 200));

        Assert.Equal([(1, 0, 3, true)], Rows(run.Step()));
        run.Finish();
        Assert.Equal([1, 2, 0], run.All.OrderBy(s => s.PromptLength).Select(s => s.Id));
    }

    [Fact]
    public void DecodeSelector_ChoosesOne_OnlyThatOneSteps()
    {
        var run = new SchedulerRun(Ample with { Decodes = new LongestOnly() });
        run.Add(Prompt(3, from: 0));
        run.Add(Prompt(9, from: 100));
        run.Step();

        Assert.Equal([(1, 9, 1, true)], Rows(run.Step()));
        run.Finish();
    }

    [Fact]
    public void DecodeSelector_ChoosesNone_AllStep()
    {
        var run = new SchedulerRun(Ample with { Decodes = new NoDecodes() });
        run.Add(Prompt(3, from: 0));
        run.Add(Prompt(9, from: 100));
        run.Step();

        Assert.Equal([(0, 3, 1, true), (1, 9, 1, true)], Rows(run.Step()));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4), InlineData(5), InlineData(6)]
    public void Operations_Random_KeepEveryInvariantAndFreeAllBlocks(int seed)
    {
        var random = new Random(seed);
        var run = new SchedulerRun(
            Ample with
            {
                BlockCount = 30, TokenBudget = seed < 4 ? 9 : 30, MaxSequences = 6, MaxTokensPerStep = seed < 4 ? seed : 9, PrefixCache = seed != 3,
                Admission = new AggressiveAdmission(), EndTokenIds = [HashRunner.EndToken],
                DraftLengths = seed switch { < 4 => Ample.DraftLengths, 4 => new AdaptiveDraftLength(8), _ => new RandomLengths(seed) },
                Decodes = seed == 6 ? new EqualLengthDecodes(2, 4) : new AllDecodes(),
            },
            seed < 4 ? DraftOutcome.RightForTwo : DraftOutcome.Random,
            cost: new StepCost(Step: 10e-3, Token: 1e-3, DraftPass: 1e-3, DraftToken: 0.1e-3));
        var cancelled = new HashSet<Sequence>();
        for (int step = 0; step < 1000; step++)
        {
            if (random.Next(3) == 0 && run.Scheduler.Counters.Waiting < 12)
            {
                int[] tokens = [.. Tokens(8 * random.Next(4), 0), .. Tokens(random.Next(1, 30), random.Next(3) * 100)];
                int samples = random.Next(8) == 0 ? 3 : 1;
                run.Add(new Request(tokens, new SamplingOptions { MaxTokens = random.Next(1, 40), N = samples, Temperature = random.Next(2) }));
            }
            if (random.Next(10) == 0 && run.All.Count > 0)
            {
                Sequence victim = run.All[random.Next(Math.Max(0, run.All.Count - 12), run.All.Count)];
                if (victim.Status != SequenceStatus.Finished) cancelled.Add(victim);
                run.Scheduler.Cancel(victim);
            }
            run.Step();
        }
        run.Finish();

        Assert.True(run.Scheduler.Counters.Preemptions > 5, "The operations did not run out of blocks.");
        foreach (Sequence sequence in run.All)
        {
            List<int> expected = HashRunner.Expected(sequence.Request, sequence.SampleIndex, 128);
            int[] actual = sequence.OutputTokens.ToArray();
            Assert.Equal(cancelled.Contains(sequence) ? expected.Take(actual.Length) : expected, actual);
        }
    }

    [Fact]
    public void Decode_SteadyState_AllocatesNothing()
    {
        var options = Ample with { BlockCount = 4096, ContextLength = 400 };
        var scheduler = new Scheduler(options);
        var runner = new HashRunner(options.BlockCount, options.BlockSize);
        for (int i = 0; i < 40; i++) scheduler.Add(Prompt(5, from: 10 * i, maxTokens: 300));
        for (int i = 0; i < 20; i++) scheduler.Commit(scheduler.Plan(), runner.Run(scheduler.Plan()));

        long allocated = 0;
        for (int i = 0; i < 100; i++) // crosses block boundaries, so that blocks are taken and shared too
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            StepPlan plan = scheduler.Plan();
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            StepResult result = runner.Run(plan);
            before = GC.GetAllocatedBytesForCurrentThread();
            scheduler.Commit(plan, result);
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.Equal(40, scheduler.Counters.Running);
        Assert.Equal(0, allocated);
    }

    private static Request Prompt(int length, int from, int maxTokens = 4) =>
        new(Tokens(length, from), new SamplingOptions { MaxTokens = maxTokens });

    private static int[] Tokens(int length, int from) => [.. Enumerable.Range(from, length)];

    private static (long Id, int Start, int Length, bool Samples)[] Rows(StepPlan plan) =>
        [.. plan.Rows.ToArray().Select(row => (row.Sequence.Id, row.Start, row.Length, row.Samples))];

    private sealed class ShortestFirst : IQueueOrder
    {
        public long KeyOf(in QueueEntry entry) => entry.PromptLength;
    }

    private sealed class RandomLengths(int seed) : IDraftLengthPolicy
    {
        private readonly Random _random = new(seed);

        public void Choose(ReadOnlySpan<DraftCandidate> sequences, int otherTokens, int budget, in StepCost cost, Span<int> lengths)
        {
            foreach (ref int length in lengths) length = _random.Next(-1, 10);
        }
    }

    private sealed class NoDecodes : IDecodeSelector
    {
        public void Choose(ReadOnlySpan<int> contextLengths, Span<bool> chosen)
        {
        }
    }

    private sealed class AdmitEverything : IAdmissionPolicy, IAdmission
    {
        public IAdmission For(SchedulerOptions options) => this;

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
        }

        public bool TryAdmit(in KvDemand candidate) => true;
    }

    private sealed class LongestOnly : IDecodeSelector
    {
        public void Choose(ReadOnlySpan<int> contextLengths, Span<bool> chosen)
        {
            int longest = 0;
            foreach (int length in contextLengths) longest = Math.Max(longest, length);
            for (int i = 0; i < chosen.Length; i++) chosen[i] = contextLengths[i] == longest;
        }
    }
}
