using KernelForge.Inference;

namespace KernelForge.Tests;

public class BaselineAdmissionTests
{
    private static readonly SchedulerOptions Bare = new() { BlockCount = 400, BlockSize = 4, ContextLength = 64, TokenBudget = 4096, PrefixCache = false };

    [Theory, InlineData(4096), InlineData(10)]
    public void Static_Batches_StartWhenAllHaveEnded(int budget)
    {
        var run = new SchedulerRun(Bare with { TokenBudget = budget, Admission = new StaticBatchAdmission(4) });
        for (int i = 0; i < 11; i++) run.Add(new Request([.. Enumerable.Range(1, 6)], new SamplingOptions { MaxTokens = 5 + i % 5, IgnoreEndToken = true }));

        int[] firstStep = new int[11], lastStep = new int[11];
        for (int step = 1; run.Scheduler.HasWork; step++)
        {
            run.Step();
            for (int i = 0; i < 11; i++)
            {
                if (firstStep[i] == 0 && run.All[i].Status != SequenceStatus.Waiting) firstStep[i] = step;
                if (lastStep[i] == 0 && run.All[i].Status == SequenceStatus.Finished) lastStep[i] = step;
            }
        }

        for (int i = 4; i < 11; i++) Assert.True(firstStep[i] > lastStep[..(i / 4 * 4)].Max(), $"Sequence {i} started while a batch before it was running.");
        Assert.Equal(firstStep[0], budget > 24 ? firstStep[3] : 1);
    }

    [Fact]
    public void Static_LateArrivals_WaitForTheNextBatch()
    {
        var run = new SchedulerRun(Bare with { Admission = new StaticBatchAdmission(4) });
        Sequence early = run.Add(PromptOf(6, outputs: 5)).Single();
        run.Step();
        Sequence late = run.Add(PromptOf(6, outputs: 5)).Single();

        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(SequenceStatus.Waiting, late.Status);
            run.Step();
        }
        Assert.Equal(SequenceStatus.Finished, early.Status);
        run.Step();
        Assert.Equal(SequenceStatus.Running, late.Status);
    }

    [Fact]
    public void Static_PaddedTokens_AreThoseOfTheLongestInEachBatch()
    {
        Assert.Equal(3 * 9 + 2 * 4, StaticBatchAdmission.PaddedTokens([1, 9, 5, 4, 2], 3));
        Assert.Equal(1 + 9 + 5, StaticBatchAdmission.PaddedTokens([1, 9, 5], 1));
        Assert.Equal(0, StaticBatchAdmission.PaddedTokens([], 3));
    }

    [Fact]
    public void Ratio_CountsAShareOfRunningAndAllOfACandidate()
    {
        IAdmission admission = new NewTokenRatioAdmission(first: 0.6, least: 0.1, passes: 5).For(Bare);
        KvDemand[] running = [new(Held: 10, Known: 2, Remaining: 22)]; // 12 now, 20 more at most

        Assert.Equal(17, MostRemaining(40)); // 0.5 of 20 beside the 12, and one held: 40 - 22 - 1
        Assert.Equal(19, MostRemaining(40));
        for (int i = 0; i < 5; i++) MostRemaining(40);
        Assert.Equal(25, MostRemaining(40)); // no lower than 0.1

        admission.Begin([], 40); // it was sent back: the share is the first again
        Assert.Equal(17, MostRemaining(40));

        int MostRemaining(int capacity)
        {
            admission.Begin(running, capacity);
            int most = 0;
            for (int remaining = 40; remaining >= 0 && most == 0; remaining--)
                if (admission.TryAdmit(new KvDemand(Held: 1, Known: 0, remaining))) most = remaining;
            if (most > 0) admission.Ended(new EndedOutput("", 1)); // the candidate leaves at once
            return most;
        }
    }

    [Fact]
    public void Admissions_BadInput_SayWhatIsWrong()
    {
        Assert.Contains("not 0", Assert.Throws<ArgumentException>(() => new StaticBatchAdmission(0)).Message);
        Assert.Contains("not 1.5", Assert.Throws<ArgumentException>(() => new NewTokenRatioAdmission(1.5)).Message);
        Assert.Contains("0 to 0.5, not 0.6", Assert.Throws<ArgumentException>(() => new NewTokenRatioAdmission(0.5, 0.6)).Message);
        Assert.Contains("not 0", Assert.Throws<ArgumentException>(() => new NewTokenRatioAdmission(passes: 0)).Message);
    }

    private static Request PromptOf(int length, int outputs) => new([.. Enumerable.Range(1, length)], new SamplingOptions { MaxTokens = outputs, IgnoreEndToken = true });
}
