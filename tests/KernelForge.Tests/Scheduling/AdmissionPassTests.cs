using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>When waiting sequences are looked at, and who is next.</summary>
public class AdmissionPassTests
{
    private static readonly SchedulerOptions Ample = new() { BlockCount = 64, BlockSize = 4, ContextLength = 160, TokenBudget = 64 };

    public static TheoryData<string> Policies => new("reserve-all", "aggressive", "past-future", "past-future, known lengths");

    [Theory, MemberData(nameof(Policies))]
    public void LargeRequest_SmallOnesKeepComing_IsNotOvertaken(string policy)
    {
        var run = new SchedulerRun(Ample with { Admission = PolicyOf(policy) });
        for (int i = 0; i < 12; i++) run.Add(Prompt(9, from: 100 * i, maxTokens: 20, policy));
        run.Step();
        Sequence large = run.Add(Prompt(150, from: 5000, maxTokens: 10, policy))[0];
        List<Sequence> later = [];
        int steps = 0;
        for (; large.Status == SequenceStatus.Waiting; steps++)
        {
            Assert.DoesNotContain(later, sequence => sequence.Status != SequenceStatus.Waiting);
            later.Add(run.Add(Prompt(5, from: 10_000 + 10 * steps, maxTokens: 20, policy))[0]);
            run.Step();
        }

        Assert.InRange(steps, 1, 42); // those before it have 20 tokens to generate, and not all of them fit at once
        run.Finish();
    }

    [Theory, MemberData(nameof(Policies))]
    public void ImpossibleRequest_IsRefusedAtOnce_AndTheLargestPossibleOneEnds(string policy)
    {
        var run = new SchedulerRun(Ample with { BlockCount = 10, Admission = PolicyOf(policy) });

        var refusal = Assert.Throws<RequestTooLongException>(() => run.Add(Prompt(30, from: 0, maxTokens: 12, policy)));
        Assert.Equal((42, 41), (refusal.Tokens, refusal.Limit));

        run.Add(Prompt(5, from: 100, maxTokens: 11, policy));
        run.Add(Prompt(30, from: 0, maxTokens: 11, policy)); // fills the cache: no reserve would let it in beside anything
        run.Add(Prompt(5, from: 200, maxTokens: 11, policy));
        run.Finish();
        Assert.All(run.All, sequence => Assert.Equal(11, sequence.OutputLength));
    }

    [Fact]
    public void RefusedHead_IsAskedForAgainOnlyWhenSomethingHappened()
    {
        var policy = new CountingAdmission();
        var run = new SchedulerRun(Ample with { Admission = policy, Order = new PriorityFirst() });
        Sequence running = run.Add(Prompt(8, from: 0, maxTokens: 100))[0];
        run.Step();
        policy.Refuses = true;
        run.Add(Prompt(8, from: 100, maxTokens: 10));
        run.Step();
        int asked = policy.Asked;

        for (int i = 0; i < 20; i++) run.Step();
        run.Add(Prompt(8, from: 200, maxTokens: 10)); // behind the one that was refused
        run.Step();
        Assert.Equal(asked, policy.Asked);

        run.Add(new Request(Tokens(8, 300), new SamplingOptions { MaxTokens = 10 }) { Priority = 1 }); // before it
        run.Step();
        Assert.Equal(asked + 1, policy.Asked);

        Sequence first = run.All[^1];
        run.Scheduler.Cancel(first); // the one that was refused last
        run.Step();
        Assert.Equal(asked + 2, policy.Asked);

        run.Scheduler.Cancel(running); // nothing runs: the first may, whatever the policy says
        run.Step();
        Assert.Equal(1, run.Scheduler.Counters.Running);
        policy.Refuses = false;
        run.Finish();
    }

    [Fact]
    public void FullCache_ManyWaiting_AllocatesNothingAndVisitsNobody()
    {
        foreach (string name in (string[])["reserve-all", "aggressive", "past-future"])
        {
            var scheduler = new Scheduler(Ample with { BlockCount = 400, TokenBudget = 400, Admission = PolicyOf(name) });
            var runner = new HashRunner(400, 4);
            for (int i = 0; i < 2000; i++) scheduler.Add(Prompt(8, from: 10 * i, maxTokens: 150, name));
            for (int i = 0; i < 12; i++) scheduler.Commit(scheduler.Plan(), runner.Run(scheduler.Plan()));

            long allocated = 0;
            for (int i = 0; i < 20; i++)
            {
                StepPlan plan = scheduler.Plan();
                StepResult result = runner.Run(plan);
                long before = GC.GetAllocatedBytesForCurrentThread();
                scheduler.Commit(plan, result);
                scheduler.Plan();
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            }
            Assert.True(scheduler.Counters.Waiting > 1500, $"{name}: nobody waits.");
            if (name != "aggressive") Assert.Equal(0, allocated); // preempted ones start anew, with new tables
        }
    }

    [Fact]
    public void RekeyingOrder_LongestCachedPrefixFirst_SeesWhatIsCachedNow()
    {
        var order = new MostCachedFirst();
        var run = new SchedulerRun(Ample with { Order = order, MaxSequences = 1 });
        run.Add(Prompt(21, from: 0, maxTokens: 3));
        Sequence other = run.Add(Prompt(21, from: 100, maxTokens: 3))[0], alike = run.Add(Prompt(21, from: 0, maxTokens: 4))[0];
        while (run.Scheduler.Counters.Waiting > 1) run.Step();

        Assert.Equal((SequenceStatus.Waiting, SequenceStatus.Running, 20), (other.Status, alike.Status, alike.CachedLength));
        Assert.Equal(20, order.MostSeen);
        run.Finish();
    }

    [Fact]
    public void QueueEntry_TellsWhatTheRequestSays()
    {
        var order = new Recording();
        var scheduler = new Scheduler(Ample with { Order = order }) { Now = TimeSpan.FromSeconds(5) };
        scheduler.Add(new Request([1, 2, 3], new SamplingOptions { MaxTokens = 9 }) { Priority = 4, Tenant = "t", Timeout = TimeSpan.FromSeconds(2) });

        QueueEntry entry = order.Last;
        Assert.Equal((0, 3, 9, 4, "t"), (entry.Arrival, entry.PromptLength, entry.MaxTokens, entry.Priority, entry.Tenant));
        Assert.Equal((TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(7)), (entry.ArrivedAt, entry.Deadline));
    }

    [Fact]
    public void WholeQueueWaitsForOnePrefix_AStepVisitsABoundedPart()
    {
        var scheduler = new Scheduler(Ample with { BlockCount = 4000, TokenBudget = 40, MaxSequences = 1000 });
        var runner = new HashRunner(4000, 4);
        for (int i = 0; i < 3000; i++) scheduler.Add(new Request([.. Tokens(37, 0), i], new SamplingOptions { MaxTokens = 2 }));
        Sequence other = scheduler.Add(Prompt(9, from: 100, maxTokens: 2))[0];
        StepPlan plan = scheduler.Plan();

        Assert.Equal((1, SequenceStatus.Waiting), (plan.Rows.Length, other.Status)); // 2 tokens of the budget are left, and too many wait before it
        while (scheduler.HasWork) scheduler.Commit(plan = scheduler.Plan(), runner.Run(plan));
        Assert.Equal(38 + 2999 * 2 + 9, scheduler.Counters.PromptTokensComputed);
    }

    private static IAdmissionPolicy PolicyOf(string name) => name switch
    {
        "reserve-all" => new ReserveAllAdmission(),
        "aggressive" => new AggressiveAdmission(0.9),
        _ => new PastFutureAdmission(),
    };

    private static Request Prompt(int length, int from, int maxTokens, string policy = "") =>
        new(Tokens(length, from), new SamplingOptions { MaxTokens = maxTokens, IgnoreEndToken = true })
        {
            ExpectedTokens = policy.EndsWith("lengths", StringComparison.Ordinal) ? maxTokens : null,
        };

    private static int[] Tokens(int length, int from) => [.. Enumerable.Range(from, length)];

    private sealed class CountingAdmission : IAdmissionPolicy, IAdmission
    {
        public bool Refuses { get; set; }

        public int Asked { get; private set; }

        public IAdmission For(SchedulerOptions options) => this;

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
        }

        public bool TryAdmit(in KvDemand candidate)
        {
            Asked++;
            return !Refuses;
        }
    }

    private sealed class PriorityFirst : IQueueOrder
    {
        public long KeyOf(in QueueEntry entry) => -entry.Priority;
    }

    private sealed class MostCachedFirst : IQueueOrder
    {
        public bool Rekeys => true;

        public int MostSeen { get; private set; }

        public long KeyOf(in QueueEntry entry)
        {
            MostSeen = Math.Max(MostSeen, entry.CachedTokens);
            return -entry.CachedTokens;
        }
    }

    private sealed class Recording : IQueueOrder
    {
        public QueueEntry Last { get; private set; }

        public long KeyOf(in QueueEntry entry)
        {
            Last = entry;
            return 0;
        }
    }
}
