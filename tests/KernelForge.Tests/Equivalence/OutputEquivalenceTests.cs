using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Features must not change the answer: every combination gives the tokens that the definition gives.</summary>
public class OutputEquivalenceTests
{
    private static readonly int[] Budgets = [1, 7, 4096]; // one token a step, chunks that end inside blocks, everything at once
    private static readonly int[] BlockSizes = [4, 16];
    private static readonly int[] MaxSequences = [1, 3, 64];
    private static readonly StepCost Cost = new(Step: 10e-3, Token: 1e-3, DraftPass: 1e-3, DraftToken: 0.1e-3);
    private static readonly (DraftOutcome Drafts, int Branches)[] Drafters =
    [
        (DraftOutcome.AllRight, 1), (DraftOutcome.AllWrong, 1), ((DraftOutcome)1, 1), (DraftOutcome.RightForTwo, 1), ((DraftOutcome)5, 1),
        (DraftOutcome.Random, 1), (DraftOutcome.AllRight, 2), (DraftOutcome.Random, 3),
    ];

    public static TheoryData<string> Cases
    {
        get
        {
            // budget, block size, prefix cache, admission, arrival, max sequences, KV, samples, sampling, drafter, draft length (9: adapts), decodes
            var data = new TheoryData<string>();
            foreach (int[] row in Pairwise.Cover([3, 2, 2, 2, 3, 3, 2, 2, 2, Drafters.Length, 10, 3], seed: 5)) data.Add(string.Concat(row));
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Tokens_AnyCombination_EqualTheDefinition(string factors)
    {
        int[] f = factors.Select(digit => digit - '0').ToArray();
        List<Request> requests = Workload.Requests(samples: f[7] == 0 ? 1 : 3, temperature: f[8]);
        int blockSize = BlockSizes[f[1]], largest = (Workload.ContextLength + blockSize - 1) / blockSize, draftLength = f[10];
        (DraftOutcome drafts, int branches) = Drafters[f[9]];
        var run = new SchedulerRun(
            new SchedulerOptions
            {
                BlockCount = f[6] == 0 ? largest + 2 : 20 * largest,
                BlockSize = blockSize,
                ContextLength = Workload.ContextLength,
                TokenBudget = Budgets[f[0]],
                MaxSequences = MaxSequences[f[5]],
                PrefixCache = f[2] == 0,
                MaxTokensPerStep = 1 + Math.Min(draftLength, 8),
                EndTokenIds = [HashRunner.EndToken],
                Admission = f[3] == 0 ? new ReserveAllAdmission() : new AggressiveAdmission(),
                Decodes = f[11] switch { 0 => new AllDecodes(), 1 => new EqualLengthDecodes(2, 5), _ => new EqualLengthDecodes(4, 48) },
                DraftLengths = draftLength < 9 ? new FixedDraftLength(draftLength) : new AdaptiveDraftLength(8),
            },
            drafts, branches, cost: Cost);

        AddAndRun(run, requests, arrival: f[4]);

        foreach (Sequence sequence in run.All)
            Assert.Equal(HashRunner.Expected(sequence.Request, sequence.SampleIndex, Workload.ContextLength), sequence.OutputTokens.ToArray());
        if (f[3] == 0) Assert.Equal(0, run.Scheduler.Counters.Preemptions);
    }

    [Fact]
    public void Cases_TightMemoryAndAggressiveAdmission_DoPreempt()
    {
        var run = new SchedulerRun(new SchedulerOptions
        {
            BlockCount = 26, BlockSize = 4, ContextLength = Workload.ContextLength, EndTokenIds = [HashRunner.EndToken], Admission = new AggressiveAdmission(),
        });

        AddAndRun(run, Workload.Requests(samples: 1, temperature: 0), arrival: 0);

        Assert.True(run.Scheduler.Counters.Preemptions > 0, "The matrix would not test preemption.");
        Assert.True(run.Scheduler.Counters.PromptTokensReused > 0, "The matrix would not test sharing.");
    }

    private static void AddAndRun(SchedulerRun run, List<Request> requests, int arrival)
    {
        if (arrival == 1) requests.Reverse();
        foreach (Request request in requests)
        {
            run.Add(request);
            for (int i = 0; arrival == 2 && i < 3; i++) run.Step(); // they keep coming
        }
        run.Finish();
    }
}
