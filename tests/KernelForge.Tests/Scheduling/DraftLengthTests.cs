using KernelForge.Inference;

namespace KernelForge.Tests;

public class DraftLengthTests
{
    private static readonly SchedulerOptions Ample = new() { BlockCount = 64, BlockSize = 4, ContextLength = 128, TokenBudget = 64, MaxTokensPerStep = 5 };

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void Plan_PolicyThatNeverDrafts_IsThePlanWithoutSpeculation(int seed)
    {
        SchedulerOptions tight = Ample with
        {
            BlockCount = 30, TokenBudget = 9, MaxSequences = 6, Admission = new AggressiveAdmission(), EndTokenIds = [HashRunner.EndToken],
        };
        var plain = new SchedulerRun(tight with { MaxTokensPerStep = 1 });
        var quiet = new SchedulerRun(tight with { DraftLengths = new FixedDraftLength(0) });
        var random = new Random(seed);
        for (int step = 0; step < 400; step++)
        {
            if (random.Next(3) == 0)
            {
                Request request = Prompt(random.Next(1, 40), from: random.Next(3) * 100, maxTokens: random.Next(1, 40));
                plain.Add(request);
                quiet.Add(request);
            }
            Assert.Equal(Rows(plain.Step()), Rows(quiet.Step()));
        }
        Assert.True(plain.Scheduler.Counters.Preemptions > 5, "The operations did not run out of blocks.");
        Assert.Equal(plain.Scheduler.Counters, quiet.Scheduler.Counters);
    }

    [Fact]
    public void Plan_LengthsDiffer_EveryRowReservesItsOwn()
    {
        var policy = new GivenLengths(2, 0, 4, 1);
        var run = new SchedulerRun(Ample with { DraftLengths = policy });
        for (int i = 0; i < 4; i++) run.Add(Prompt(4, from: 100 * i, maxTokens: 20));
        run.Step();
        Assert.Equal(0, policy.Asked);

        PlanRow[] rows = run.Scheduler.Plan().Rows.ToArray();

        Assert.Equal(1, policy.Asked);
        Assert.Equal([3, 1, 5, 2], rows.Select(row => row.MaxTokens));
        Assert.Equal([2, 0, 4, 1], rows.Select(row => row.DraftTokens));
        Assert.Equal([2, 2, 3, 2], rows.Select(row => row.Sequence.Table.Count)); // 4 + 3, 4 + 1, 4 + 5, 4 + 2 slots
    }

    [Fact]
    public void Plan_SeveralNodesForEachToken_RowsTakeThemAndSlotsOfOnePath()
    {
        var policy = new GivenLengths(2, 0, 4, 1);
        var run = new SchedulerRun(Ample with { DraftLengths = policy, DraftNodes = 3, TokenBudget = 16 });
        for (int i = 0; i < 4; i++) run.Add(Prompt(4, from: 100 * i, maxTokens: 20));
        run.Step();
        run.Scheduler.StepCost = new StepCost(8, 1, 5, 2);

        PlanRow[] rows = run.Scheduler.Plan().Rows.ToArray();

        Assert.Equal([3, 1, 5, 1], rows.Select(row => row.MaxTokens));
        Assert.Equal([6, 0, 6, 0], rows.Select(row => row.DraftTokens)); // of 12 in all: the third tree is cut, nothing is left for the last
        Assert.Equal([2, 2, 3, 2], rows.Select(row => row.Sequence.Table.Count));
        Assert.Equal((4, new StepCost(8, 1, 5, 3 * 2 + 2 * 1)), (policy.Budget, policy.Cost));
    }

    [Fact]
    public void Plan_LengthsOutOfRange_AreCut()
    {
        var run = new SchedulerRun(Ample with { DraftLengths = new GivenLengths(-3, 99, 99), TokenBudget = 14 });
        run.Add(Prompt(3, from: 0, maxTokens: 20));
        run.Add(Prompt(3, from: 100, maxTokens: 4));
        run.Add(Prompt(3, from: 200, maxTokens: 20));
        run.Step();

        // The second one has 3 tokens to go, of which 2 can be drafts; the third is cut to what the runner takes.
        Assert.Equal([1, 3, 5], run.Scheduler.Plan().Rows.ToArray().Select(row => row.MaxTokens));
    }

    [Fact]
    public void Plan_PromptUnderWay_TellsThePolicyAndKeepsHalf()
    {
        var policy = new GivenLengths(4, 4, 4, 4);
        var run = new SchedulerRun(Ample with { DraftLengths = policy, TokenBudget = 12 });
        for (int i = 0; i < 4; i++) run.Add(Prompt(3, from: 100 * i, maxTokens: 20));
        run.Step();
        run.Add(Prompt(7, from: 1000));

        StepPlan first = run.Step(); // the prompt still waits: nobody knows how much of it is to be computed
        Assert.Equal((0, 4), (policy.OtherTokens, policy.Budget));
        Assert.Equal((4, 4), (first.Rows[^1].Length, first.Rows.ToArray().Sum(row => row.DraftTokens)));

        run.Step();
        Assert.Equal((3, 4), (policy.OtherTokens, policy.Budget));
    }

    [Fact]
    public void Plan_WaitingRequestsThatCannotBeAdmitted_LeaveDraftsTheWholeBudget()
    {
        var policy = new GivenLengths(4, 4);
        var run = new SchedulerRun(Ample with { DraftLengths = policy, TokenBudget = 12, MaxSequences = 2 });
        for (int i = 0; i < 3; i++) run.Add(Prompt(3, from: 100 * i, maxTokens: 20));
        run.Step();

        run.Step();

        Assert.Equal(10, policy.Budget);
    }

    [Theory, InlineData(DraftOutcome.AllRight, 0.95f, 1f), InlineData(DraftOutcome.AllWrong, 0f, 0.1f), InlineData(DraftOutcome.RightForTwo, 0.6f, 0.7f)]
    public void Commit_Drafts_TeachTheirAcceptance(DraftOutcome outcome, float least, float most)
    {
        var policy = new GivenLengths(4);
        var run = new SchedulerRun(Ample with { DraftLengths = policy }, outcome);
        run.Add(Prompt(3, from: 0, maxTokens: 120));
        run.Step();
        run.Step();
        Assert.Equal(0.7f, policy.Seen[0].Acceptance, 3);

        for (int i = 0; i < 20; i++) run.Step();

        Assert.InRange(policy.Seen[0].Acceptance, least, most);
        Assert.Equal(0, policy.Seen[0].StepsSinceDraft);
    }

    [Fact]
    public void Commit_NewSequence_StartsFromWhatOthersTaught()
    {
        var policy = new GivenLengths(4);
        var run = new SchedulerRun(Ample with { DraftLengths = policy }, DraftOutcome.AllWrong);
        run.Add(Prompt(3, from: 0, maxTokens: 40));
        for (int i = 0; i < 40; i++) run.Step();
        Assert.False(run.Scheduler.HasWork);

        run.Add(Prompt(3, from: 100, maxTokens: 40));
        run.Step();
        run.Step();

        Assert.InRange(policy.Seen[0].Acceptance, 0, 0.15f);
    }

    [Fact]
    public void Commit_StepsWithoutDrafts_AreCountedAndHandedToNewSequences()
    {
        var policy = new GivenLengths();
        var run = new SchedulerRun(Ample with { DraftLengths = policy });
        run.Add(Prompt(3, from: 0, maxTokens: 60));
        for (int i = 0; i < 10; i++) run.Step();
        run.Add(Prompt(3, from: 100, maxTokens: 60));
        run.Step();
        run.Step();

        Assert.Equal([11, 11], policy.Seen.Select(candidate => candidate.StepsSinceDraft));
    }

    [Fact]
    public void Plan_TokensThatNoDraftModelHasComputed_AreTheLag()
    {
        var policy = new GivenLengths(0, 2);
        var run = new SchedulerRun(Ample with { DraftLengths = policy });
        run.Add(Prompt(9, from: 0, maxTokens: 40));
        run.Add(Prompt(6, from: 100, maxTokens: 40));
        run.Step();
        run.Step();
        Assert.Equal([9, 6], policy.Seen.Select(candidate => candidate.Lag));
        run.Step();
        Assert.Equal([10, 0], policy.Seen.Select(candidate => candidate.Lag));

        run.Add(Prompt(10, from: 0, maxTokens: 40)); // shares the two blocks of the first, behind which nothing was ever drafted
        run.Add(Prompt(7, from: 100, maxTokens: 40)); // shares a block of the second
        run.Step();
        run.Step();
        Assert.Equal((10, 3), (policy.Seen[2].Lag, policy.Seen[3].Lag));
    }

    [Fact]
    public void Plan_TokenTrees_CountLagInWhatATokenOfTheirLengthCosts()
    {
        var policy = new GivenLengths(0);
        var cost = new StepCost(Step: 10, Token: 1, DraftPass: 1, DraftToken: 0.5);
        var run = new SchedulerRun(Ample with { DraftLengths = policy, DraftNodes = 3 }, cost: cost);
        run.Add(Prompt(46, from: 0, maxTokens: 40));
        run.Step();
        run.Step();

        Assert.Equal(3.5, policy.Cost.DraftToken); // three nodes of the draft model, two more of the target
        Assert.Equal(7, policy.Seen[0].Lag); // 46 / 7, rounded up
    }

    [Fact]
    public void Commit_DraftCutByTheEndOfItsSequence_IsNoRejection()
    {
        Request probe = Prompt(6, from: 0, maxTokens: 12);
        int stop = HashRunner.Expected(probe, 0, 128)[3];
        var policy = new GivenLengths(4);
        var run = new SchedulerRun(Ample with { DraftLengths = policy }, DraftOutcome.RightForTwo);
        run.Add(new Request(probe.PromptTokenIds, new SamplingOptions { MaxTokens = 12, StopTokenIds = [stop] }));
        run.Finish();

        run.Add(Prompt(3, from: 100, maxTokens: 12));
        run.Step();
        run.Step();

        Assert.InRange(policy.Seen[0].Acceptance, 0.7001f, 1);
    }

    [Fact]
    public void EngineStep_CostOfItsRunner_ReachesThePolicy()
    {
        var policy = new GivenLengths(1);
        SchedulerOptions options = Ample with { DraftLengths = policy };
        var runner = new HashRunner(options.BlockCount, options.BlockSize, options.MaxTokensPerStep) { StepCost = new StepCost(1, 2, 3, 4) };
        using var engine = new Engine(new Scheduler(options), runner, HashRunner.VocabularySize);
        engine.Add(Prompt(3, from: 0, maxTokens: 20));
        engine.Step();
        engine.Step();

        Assert.Equal(runner.StepCost, policy.Cost);
    }

    [Fact]
    public void PlanAndCommit_AdaptiveLengths_AllocateNothing()
    {
        SchedulerOptions options = Ample with
        {
            BlockCount = 4096, ContextLength = 1000, TokenBudget = 300, MaxTokensPerStep = 9, DraftLengths = new AdaptiveDraftLength(8),
            Decodes = new EqualLengthDecodes(39, 40),
        };
        var scheduler = new Scheduler(options) { StepCost = new StepCost(Step: 10e-3, Token: 0.01e-3, DraftPass: 0.1e-3, DraftToken: 0.01e-3) };
        var runner = new HashRunner(options.BlockCount, options.BlockSize, options.MaxTokensPerStep, DraftOutcome.Random);
        for (int i = 0; i < 40; i++) scheduler.Add(Prompt(5, from: 10 * i, maxTokens: 900));
        for (int i = 0; i < 20; i++) scheduler.Commit(scheduler.Plan(), runner.Run(scheduler.Plan()));

        long allocated = 0, drafted = 0;
        for (int i = 0; i < 60; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            StepPlan plan = scheduler.Plan();
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            foreach (PlanRow row in plan.Rows) drafted += row.DraftTokens;
            StepResult result = runner.Run(plan);
            before = GC.GetAllocatedBytesForCurrentThread();
            scheduler.Commit(plan, result);
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.True(drafted > 1000, $"{drafted} tokens were drafted.");
        Assert.Equal(0, allocated);
    }

    private static Request Prompt(int length, int from, int maxTokens = 4) =>
        new([.. Enumerable.Range(from, length)], new SamplingOptions { MaxTokens = maxTokens });

    private static (long, int, int, int, int, string)[] Rows(StepPlan plan) =>
    [
        .. plan.Rows.ToArray().Select(row =>
            (row.Sequence.Id, row.Start, row.Length, row.MaxTokens, row.DraftTokens, string.Join(' ', row.Sequence.Table.Blocks.ToArray()))),
    ];

    /// <summary>Gives these lengths, zero to those beyond, and keeps what it was asked.</summary>
    private sealed class GivenLengths(params int[] given) : IDraftLengthPolicy
    {
        public int Asked { get; private set; }

        public int OtherTokens { get; private set; }

        public int Budget { get; private set; }

        public StepCost Cost { get; private set; }

        public DraftCandidate[] Seen { get; private set; } = [];

        public void Choose(ReadOnlySpan<DraftCandidate> sequences, int otherTokens, int budget, in StepCost cost, Span<int> lengths)
        {
            (Asked, OtherTokens, Budget, Cost, Seen) = (Asked + 1, otherTokens, budget, cost, sequences.ToArray());
            for (int i = 0; i < lengths.Length; i++) lengths[i] = i < given.Length ? given[i] : 0;
        }
    }
}
