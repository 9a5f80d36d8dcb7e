using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Features must not change the answer: every combination gives the tokens that the definition gives.</summary>
public class OutputEquivalenceTests
{
    private static readonly int[] Budgets = [1, 7, 4096]; // one token a step, chunks that end inside blocks, everything at once
    private static readonly int[] BlockSizes = [4, 16];
    private static readonly int[] MaxSequences = [1, 3, 64];
    private static readonly (int Tokens, DraftOutcome Drafts)[] Gains =
        [(1, DraftOutcome.AllRight), (2, DraftOutcome.AllRight), (4, DraftOutcome.AllRight), (4, DraftOutcome.RightForTwo), (4, DraftOutcome.AllWrong)];

    public static TheoryData<string> Cases
    {
        get
        {
            // budget, block size, prefix cache, admission, arrival, max sequences, KV, samples, sampling, gain
            var data = new TheoryData<string>();
            int[] levels = [3, 2, 2, 2, 3, 3, 2, 2, 2, 5];
            string[] rows = [.. Pairwise.Cover(levels, seed: 5).Concat(Pairwise.Cover(levels, seed: 6)).Select(row => string.Concat(row)).Distinct()];
            foreach (string row in rows) data.Add(row);
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Tokens_AnyCombination_EqualTheDefinition(string factors)
    {
        int[] f = factors.Select(digit => digit - '0').ToArray();
        List<Request> requests = Workload.Requests(samples: f[7] == 0 ? 1 : 3, temperature: f[8]);
        int blockSize = BlockSizes[f[1]], largest = (Workload.ContextLength + blockSize - 1) / blockSize;
        var run = new SchedulerRun(
            new SchedulerOptions
            {
                BlockCount = f[6] == 0 ? largest + 2 : 20 * largest,
                BlockSize = blockSize,
                ContextLength = Workload.ContextLength,
                TokenBudget = Budgets[f[0]],
                MaxSequences = MaxSequences[f[5]],
                PrefixCache = f[2] == 0,
                MaxTokensPerStep = Gains[f[9]].Tokens,
                EndTokenIds = [HashRunner.EndToken],
                Admission = f[3] == 0 ? new ReserveAllAdmission() : new AggressiveAdmission(),
            },
            Gains[f[9]].Drafts);

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
