namespace KernelForge.Tests;

public class ProfileFitTests
{
    private static readonly SchedulerOptions Limits = new() { BlockCount = 1 << 20, BlockSize = 16, ContextLength = 8192, TokenBudget = 2048, MaxSequences = 256 };

    [Fact]
    public void Of_NoisyTimesThatAddUp_RecoversTheConstants()
    {
        ModelShape model = ModelShape.Of(ModelConfig.Load(Path.Combine(Repository.Root, "samples", "tickets", "model")));
        DeviceProfile planted = new()
        {
            Name = "planted", MatrixFlops = 50e9, AttentionEfficiency = 0.5, MemoryBytesPerSecond = 8e9, MemoryBytes = 1 << 30, LayerSeconds = 700e-6, RowSeconds = 30e-6,
            Overlap = 0,
        };

        ProfileFit fit = ProfileFit.Of(Timings(new CostModel(planted, model), 0.04), model, "planted", 1 << 30);

        Assert.InRange(fit.Error.Median, 0, 0.03);
        Assert.Equal(1, fit.Profile.MatrixFlops / planted.MatrixFlops, 0.15);
        Assert.Equal(1, fit.Profile.MatrixFlops * fit.Profile.AttentionEfficiency / 25e9, 0.15);
        Assert.Equal(1, fit.Profile.RowSeconds / planted.RowSeconds, 0.15);
        Assert.InRange(Unseen(new CostModel(fit.Profile, model), new CostModel(planted, model)), 0, 0.05);
    }

    [Fact]
    public void Of_NoisyTimesOnARoofline_RecoversTheRates()
    {
        ModelShape model = ModelShape.Named("llama-3-8b");
        DeviceProfile planted = DeviceProfile.Named("h100");

        ProfileFit fit = ProfileFit.Of(Timings(new CostModel(planted, model), 0.04), model, "planted", planted.MemoryBytes);

        Assert.Equal((1.0, 0L), (fit.Profile.Overlap, fit.Profile.CacheBytes));
        Assert.InRange(fit.Error.Median, 0, 0.03);
        Assert.Equal(1, fit.Profile.MatrixFlops / (0.8 * 989.4e12), 0.1);
        Assert.Equal(1, fit.Profile.MemoryBytesPerSecond / (0.9 * 3.35e12), 0.1);
        Assert.Equal(1, fit.Profile.MemoryBytesPerSecond * fit.Profile.AttentionMemoryEfficiency / (0.76 * 3.35e12), 0.1);
        Assert.InRange(Unseen(new CostModel(fit.Profile, model), new CostModel(planted, model)), 0, 0.05);
    }

    [Fact]
    public void Of_AFewStepsThatTookTenTimesAsLong_HardlyMove()
    {
        ModelShape model = ModelShape.Named("opt-1.3b");
        var truth = new CostModel(DeviceProfile.Named("a100"), model);
        List<StepTiming> timings = Timings(truth, 0.02);
        for (int i = 0; i < timings.Count; i += 10) timings[i] = timings[i] with { Seconds = 10 * timings[i].Seconds };

        ProfileFit fit = ProfileFit.Of(timings, model, "noisy", 1 << 30);

        Assert.InRange(Unseen(new CostModel(fit.Profile, model), truth), 0, 0.08);
    }

    [Fact]
    public void Of_TooFewStepsOrNoTime_IsRefused()
    {
        ModelShape model = ModelShape.Named("opt-1.3b");
        var timing = new StepTiming(new StepShape { Tokens = 1 }, 1);

        Assert.Contains("12 steps or more, got 3", Assert.Throws<ArgumentException>(() => ProfileFit.Of([timing, timing, timing], model, "x", 1)).Message, StringComparison.Ordinal);
        Assert.Contains("took 0 s", Assert.Throws<ArgumentException>(() => ProfileFit.Of([.. Enumerable.Repeat(timing with { Seconds = 0 }, 20)], model, "x", 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Solve_RandomProblems_MeetsTheConditionsOfTheOptimum()
    {
        var random = new Random(3);
        for (int trial = 0; trial < 200; trial++)
        {
            int terms = random.Next(1, 6), count = terms + random.Next(10);
            var fit = new NonNegativeFit(terms);
            double[][] rows = [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, terms).Select(_ => random.NextDouble() - 0.3).ToArray())];
            double[] values = [.. rows.Select(_ => random.NextDouble() - 0.4)], weights = [.. rows.Select(_ => random.NextDouble())];
            for (int i = 0; i < count; i++) fit.Add(rows[i], values[i], weights[i]);

            double[] found = fit.Solve();

            for (int term = 0; term < terms; term++)
            {
                double slope = 0; // of half the sum of squares
                for (int i = 0; i < count; i++) slope += weights[i] * rows[i][term] * (rows[i].Zip(found, (x, c) => x * c).Sum() - values[i]);
                Assert.True(found[term] >= 0);
                if (found[term] > 0) Assert.Equal(0, slope, 1e-7);
                else Assert.True(slope >= -1e-7);
            }
        }
    }

    [Fact]
    public void Error_OfPredictions_IsMedianAndNinetiethPercentile()
    {
        var cost = new CostModel(DeviceProfile.Named("h100"), ModelShape.Named("opt-1.3b"));
        var shape = new StepShape { Tokens = 8 };
        double seconds = cost.SecondsOf(shape);

        var error = PredictionError.Of(cost, [.. Enumerable.Range(0, 100).Select(i => new StepTiming(shape, seconds / (1 + i / 100.0)))]);

        Assert.Equal((100, 0.5, 0.9), (error.Steps, Math.Round(error.Median, 9), Math.Round(error.P90, 9)));
        Assert.Contains("got none", Assert.Throws<ArgumentException>(() => PredictionError.Of(cost, [])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Set_Designs_FitTheLimits(bool isSmall)
    {
        SchedulerOptions tight = Limits with { BlockCount = 600, ContextLength = 700, TokenBudget = 130, MaxSequences = 40 };

        IReadOnlyList<StepDesign> designs = StepDesign.Set(tight, isSmall);

        Assert.NotEmpty(designs);
        Assert.All(designs, design => Assert.True(design.Tokens <= 130 && design.Rows <= 40 && design.Blocks(16) <= 600 && design.Context < 700 && design.History + design.Chunk < 700));
        Assert.True(StepDesign.Set(Limits, isSmall: true).Count < StepDesign.Set(Limits).Count / 2);
        Assert.Equal(StepDesign.Set(Limits).Count, StepDesign.Set(Limits).Distinct().Count());
    }

    /// <summary>Times of the designed steps, each off by up to a share.</summary>
    private static List<StepTiming> Timings(CostModel truth, double noise)
    {
        var random = new Random(5);
        return [.. StepDesign.Set(Limits).Select(ShapeOf).Select(shape => new StepTiming(shape, truth.SecondsOf(shape) * (1 + noise * (2 * random.NextDouble() - 1))))];
    }

    /// <summary>Median difference on steps that no fit has seen.</summary>
    private static double Unseen(CostModel fitted, CostModel truth)
    {
        var random = new Random(6);
        List<StepTiming> timings = [];
        for (int i = 0; i < 200; i++)
        {
            StepShape shape = ShapeOf(new StepDesign(random.Next(1, 200), random.Next(10, 1500), 0, random.Next(3), random.Next(1, 400), random.Next(1000)));
            timings.Add(new StepTiming(shape, truth.SecondsOf(shape)));
        }
        return PredictionError.Of(fitted, timings).Median;
    }

    private static StepShape ShapeOf(StepDesign design) => new()
    {
        Tokens = design.Tokens,
        LogitRows = design.Rows,
        PromptTokens = design.Prompts * design.Chunk,
        AttendedPositions = (long)design.Decodes * (design.Context + 1) + design.Prompts * ((long)design.Chunk * design.History + (long)design.Chunk * (design.Chunk + 1) / 2),
        ReadPositions = (long)design.Decodes * (design.Context + 1 - design.Shared) + design.Shared + (long)design.Prompts * (design.History + design.Chunk),
    };
}
