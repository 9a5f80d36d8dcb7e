using KernelForge.Inference;

namespace KernelForge.Tests;

public class StepBudgetTests
{
    private static readonly SchedulerOptions Ample = new() { BlockCount = 400, BlockSize = 4, ContextLength = 128, TokenBudget = 16 };

    [Theory, InlineData(int.MinValue), InlineData(1), InlineData(5), InlineData(int.MaxValue)]
    public void Plan_AnyBudget_LeavesNoDecodeOutAndPromptsAdvance(int tokens)
    {
        var random = new Random(1);
        var run = new SchedulerRun(Ample with { Budget = new SameBudget(tokens), MaxTokensPerStep = 3 });
        for (int step = 0; step < 300; step++)
        {
            if (run.Scheduler.Counters is { Running: < 12, Waiting: < 2 }) run.Add(Prompt(random.Next(1, 60), 100 * step, random.Next(1, 20)));
            Sequence[] decoding = [.. run.All.Where(IsDecoding)];
            Sequence? prompt = run.All.FirstOrDefault(sequence => sequence.Status == SequenceStatus.Running && !IsDecoding(sequence));

            StepPlan plan = run.Step();

            Sequence[] rows = [.. plan.Rows.ToArray().Select(row => row.Sequence)];
            Assert.All(decoding, sequence => Assert.Contains(sequence, rows));
            if (prompt is not null && decoding.Length < 16) Assert.Contains(prompt, rows);
            Assert.InRange(plan.Rows.ToArray().Sum(row => row.Cost), 1, Math.Max(Math.Min(16, tokens), decoding.Length + 1));
        }
        run.Finish();
    }

    [Fact]
    public void Plan_DecodesFillTheBudget_APromptWaitsUntilOneEndsAndThenAdvancesInEveryStep()
    {
        var run = new SchedulerRun(Ample with { TokenBudget = 3 });
        Sequence[] decoding = [.. Enumerable.Range(0, 3).Select(i => run.Add(Prompt(1, 100 * i, maxTokens: 10 + 2 * i))[0])];
        run.Step();
        Sequence late = run.Add(Prompt(30, 1000, maxTokens: 2))[0];

        while (late.Status != SequenceStatus.Finished)
        {
            int left = decoding.Count(IsDecoding), before = late.ComputedLength;
            Sequence[] expected = [.. decoding.Where(IsDecoding)];
            Assert.Equal(expected, run.Step().Rows[..left].ToArray().Select(row => row.Sequence));
            if (left == 3) Assert.Equal(0, late.ComputedLength);
            else Assert.True(late.ComputedLength > before || late.Status == SequenceStatus.Finished, "The prompt stalls.");
        }
        run.Finish();
    }

    [Fact]
    public void Plan_Budget_IsToldWhatDecodesAndWhichPromptIsUnderWay()
    {
        var budget = new SameBudget(8);
        var run = new SchedulerRun(Ample with { Budget = budget });
        run.Add(Prompt(5, 0, maxTokens: 9));
        run.Add(Prompt(20, 100, maxTokens: 9));
        run.Step(); // 5 and 3
        run.Step();

        Assert.Equal((new StepLoad(1, 5, 0, 0), 3, 16), budget.Seen);
    }

    [Fact]
    public void Load_OfAPlan_CountsItsRows()
    {
        var run = new SchedulerRun(Ample with { MaxTokensPerStep = 3 });
        run.Add(Prompt(5, 0, maxTokens: 9));
        run.Step();
        run.Add(Prompt(20, 100, maxTokens: 9));

        // One decode at 5 with two drafts behind it, and a chunk of 13 tokens: 1 + ... + 13 positions.
        Assert.Equal(new StepLoad(1, 5, 2 + 13, 7 + 8 + 13 * 14 / 2), run.Step().Load);
    }

    private static bool IsDecoding(Sequence sequence) => sequence.Status == SequenceStatus.Running && sequence.Length - sequence.ComputedLength == 1;

    private static Request Prompt(int length, int from, int maxTokens) =>
        new(Enumerable.Range(from, length).ToArray(), new SamplingOptions { MaxTokens = maxTokens, IgnoreEndToken = true });

    private sealed class SameBudget(int tokens) : IStepBudget
    {
        public (StepLoad Decodes, int PromptContext, int MostTokens) Seen { get; private set; }

        public int TokensFor(in StepLoad decodes, int promptContext, int mostTokens)
        {
            Seen = (decodes, promptContext, mostTokens);
            return tokens;
        }
    }
}
