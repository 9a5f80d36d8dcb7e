using KernelForge.Inference;

namespace KernelForge.Tests;

public class SimulatedRunnerTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(3, 0.5)]
    public void Run_TightOrRoomyMemory_SameTokensAndLengths(int draftLength, double acceptance)
    {
        List<int[]> roomy = Run(blocks: 1000, draftLength, acceptance, out long none), tight = Run(blocks: 30, draftLength, acceptance, out long preemptions);

        Assert.Equal(0, none);
        Assert.True(preemptions > 0, "The tight run would not test preemption.");
        Assert.Equal(roomy, tight);
        for (int i = 0; i < roomy.Count; i++)
        {
            Assert.Equal(10 + 5 * i, roomy[i].Length);
            Assert.Equal(SimulatedTokens.End, roomy[i][^1]);
            Assert.DoesNotContain(SimulatedTokens.End, roomy[i][..^1]);
        }
    }

    [Fact]
    public void Shape_RandomSteps_EqualsCountingSlots()
    {
        SchedulerOptions options = Simulated.Scheduler(blocks: 120) with { TokenBudget = 70, Admission = new AggressiveAdmission() };
        var scheduler = new Scheduler(options);
        var runner = new SimulatedRunner(Simulated.Options(options));
        var unshared = new StepShapeCounter(options.BlockCount, options.BlockSize, sharesReads: false);
        foreach (SimulatedRequest request in Simulated.Named("two-level", 40, scale: 0.1).Requests)
        {
            scheduler.Add(request.Request);
            runner.Expect(request.OutputTokens);
        }

        while (scheduler.HasWork)
        {
            StepPlan plan = scheduler.Plan();
            StepResult result = runner.Run(plan);
            CheckShape(plan, runner.Shape, unshared.Of(plan));
            scheduler.Commit(plan, result);
        }
    }

    [Fact]
    public void Shape_PromptInChunks_ReadsEarlierOnesAgain()
    {
        SchedulerOptions options = Simulated.Scheduler() with { TokenBudget = 64 };
        var scheduler = new Scheduler(options);
        var runner = new SimulatedRunner(Simulated.Options(options));
        scheduler.Add(Simulated.Request(prompt: 160, output: 2).Request);
        runner.Expect(2);

        var shapes = new List<StepShape>();
        while (scheduler.HasWork)
        {
            StepPlan plan = scheduler.Plan();
            scheduler.Commit(plan, runner.Run(plan));
            shapes.Add(runner.Shape);
        }

        Assert.Equal([64, 128, 160, 161], shapes.Select(shape => (int)shape.ReadPositions));
        Assert.Equal([0, 0, 1, 1], shapes.Select(shape => shape.LogitRows));
        Assert.Equal([64, 64, 32, 0], shapes.Select(shape => shape.PromptTokens));
        Assert.Equal(160 * 161 / 2, shapes.Take(3).Sum(shape => shape.AttendedPositions));
    }

    private static void CheckShape(StepPlan plan, in StepShape shape, in StepShape unshared)
    {
        var slots = new HashSet<int>();
        long attended = 0, read = 0;
        foreach (PlanRow row in plan.Rows)
        {
            for (int i = 0; i < row.Length; i++) attended += row.Start + i + 1;
            for (int p = 0; p < row.Start + row.Length; p++) slots.Add(row.Sequence.Table[p / plan.BlockSize] * plan.BlockSize + p % plan.BlockSize);
            read += row.Start + row.Length;
        }
        Assert.Equal(plan.QueryTokens, shape.Tokens);
        Assert.Equal(attended, shape.AttendedPositions);
        Assert.Equal(slots.Count, shape.ReadPositions);
        Assert.Equal(shape with { ReadPositions = read }, unshared);
    }

    private static List<int[]> Run(int blocks, int draftLength, double acceptance, out long preemptions)
    {
        SchedulerOptions options = Simulated.Scheduler(blocks) with { Admission = new AggressiveAdmission(), MaxTokensPerStep = 1 + draftLength, EndTokenIds = [SimulatedTokens.End] };
        var scheduler = new Scheduler(options);
        var runner = new SimulatedRunner(Simulated.Options(options) with { DraftLength = draftLength, DraftAcceptance = acceptance });
        var sequences = new List<Sequence>();
        for (int i = 0; i < 12; i++)
        {
            sequences.Add(scheduler.Add(Simulated.Request(prompt: 30 + i, output: 10 + 5 * i, stream: (ulong)i, limit: 200).Request)[0]);
            runner.Expect(10 + 5 * i);
        }
        while (scheduler.HasWork)
        {
            StepPlan plan = scheduler.Plan();
            scheduler.Commit(plan, runner.Run(plan));
        }
        preemptions = scheduler.Counters.Preemptions;
        return [.. sequences.Select(sequence => sequence.OutputTokens.ToArray())];
    }
}
