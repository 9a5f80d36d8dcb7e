using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Features must not change the answer: every combination gives the tokens that the definition gives.</summary>
public class OutputEquivalenceTests
{
    private const string Digits = "0123456789abcdefghijklmnopqrstuvwxyz";
    private static readonly int[] Budgets = [1, 7, 4096]; // one token a step, chunks that end inside blocks, everything at once
    private static readonly int[] BlockSizes = [4, 16];
    private static readonly int[] MaxSequences = [1, 3, 64];
    private static readonly IAdmissionPolicy[] Admissions = [new ReserveAllAdmission(), new AggressiveAdmission(), new PastFutureAdmission()];
    private static readonly StepCost Cost = new(Step: 10e-3, Token: 1e-3, DraftPass: 1e-3, DraftToken: 0.1e-3);
    private static readonly (DraftOutcome Drafts, int Branches)[] Drafters =
    [
        (DraftOutcome.AllRight, 1), (DraftOutcome.AllWrong, 1), ((DraftOutcome)1, 1), (DraftOutcome.RightForTwo, 1), ((DraftOutcome)5, 1),
        (DraftOutcome.Random, 1), (DraftOutcome.AllRight, 2), (DraftOutcome.Random, 3),
    ];

    private static readonly LinearStepTime Time = new(1e-3, 1e-3, 1e-3, 0, 1e-5);

    public static TheoryData<string> Cases
    {
        get
        {
            // budget, block size, prefix cache, admission, arrival, max sequences, KV, samples, sampling, drafter, draft length (9: adapts), decodes, plan,
            // named policy (0: none), budget by time, order (0: the policy's), ended turns kept
            var data = new TheoryData<string>();
            foreach (int[] row in Pairwise.Cover([3, 2, 2, Admissions.Length, 3, 3, 2, 2, 2, Drafters.Length, 10, 3, 4, 1 + ServingPolicy.Names.Count, 2, 5, 2], seed: 5))
                data.Add(string.Concat(row.Select(level => Digits[level])));
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Tokens_AnyCombination_EqualTheDefinition(string factors)
    {
        int[] f = factors.Select(digit => Digits.IndexOf(digit, StringComparison.Ordinal)).ToArray();
        List<Request> requests = Workload.Requests(samples: f[7] == 0 ? 1 : 3, temperature: f[8]);
        int blockSize = BlockSizes[f[1]], largest = (Workload.ContextLength + blockSize - 1) / blockSize, draftLength = f[10];
        (DraftOutcome drafts, int branches) = Drafters[f[9]];
        GlobalPrefixPlan? plan = f[12] == 0 ? null : GlobalPrefixPlan.Of(requests, blockSize);
        var options = new SchedulerOptions
        {
            PrefixPlan = plan,
            Order = f[12] switch { 1 => plan!.OrderPolicy, 3 => new BlendOrder(plan!, 1e-3, 1e-5), _ => new ArrivalOrder() },
            WaitsForPrefixes = f[12] != 2, // and the plan's lifetimes in another order than the plan's
            BlockCount = f[6] == 0 ? largest + 2 : 20 * largest,
            BlockSize = blockSize,
            ContextLength = Workload.ContextLength,
            TokenBudget = Budgets[f[0]],
            MaxSequences = MaxSequences[f[5]],
            PrefixCache = f[2] == 0,
            MaxTokensPerStep = 1 + Math.Min(draftLength, 8),
            EndTokenIds = [HashRunner.EndToken],
            Admission = Admissions[f[3]],
            Decodes = f[11] switch { 0 => new AllDecodes(), 1 => new EqualLengthDecodes(2, 5), _ => new EqualLengthDecodes(4, 48) },
            DraftLengths = draftLength < 9 ? new FixedDraftLength(draftLength) : new AdaptiveDraftLength(8),
        };
        if (f[4] == 1) requests.Reverse();
        if (f[13] > 0) options = ServingPolicy.Named(ServingPolicy.Names[f[13] - 1]).Apply(options, requests);
        if (f[14] > 0) options = options with { Budget = new LatencyBudget(Time, TimeSpan.FromMilliseconds(15), tile: 4) };
        if (f[15] > 0) options = options with { Order = OnlineOrder(f[15]) };
        if (f[16] > 0) options = options with { KeepAlive = new GainKeepAlive(Time) };
        var run = new SchedulerRun(options, drafts, branches, cost: Cost);

        AddAndRun(run, requests, keepComing: f[4] == 2);

        foreach (Sequence sequence in run.All)
            Assert.Equal(HashRunner.Expected(sequence.Request, sequence.SampleIndex, Workload.ContextLength), sequence.OutputTokens.ToArray());
        if (f[3] == 0 && f[13] == 0) Assert.Equal(0, run.Scheduler.Counters.Preemptions);
    }

    [Fact]
    public void Cases_TightMemoryAndAggressiveAdmission_DoPreempt()
    {
        var run = new SchedulerRun(new SchedulerOptions
        {
            BlockCount = 26, BlockSize = 4, ContextLength = Workload.ContextLength, EndTokenIds = [HashRunner.EndToken], Admission = new AggressiveAdmission(),
        });

        AddAndRun(run, Workload.Requests(samples: 1, temperature: 0), keepComing: false);

        Assert.True(run.Scheduler.Counters.Preemptions > 0, "The matrix would not test preemption.");
        Assert.True(run.Scheduler.Counters.PromptTokensReused > 0, "The matrix would not test sharing.");
    }

    private static IQueueOrder OnlineOrder(int number) => number switch
    {
        1 => new PriorityOrder(),
        2 => new DeadlineOrder(),
        3 => new PriorityOrder(new FairOrder()),
        _ => new AgedOrder(TimeSpan.FromSeconds(1)),
    };

    private static void AddAndRun(SchedulerRun run, List<Request> requests, bool keepComing)
    {
        foreach (Request request in requests)
        {
            run.Add(request);
            for (int i = 0; keepComing && i < 3; i++) run.Step();
        }
        run.Finish();
    }
}
