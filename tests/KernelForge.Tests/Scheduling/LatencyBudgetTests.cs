using KernelForge.Inference;

namespace KernelForge.Tests;

public class LatencyBudgetTests
{
    private static readonly TimeSpan Target = TimeSpan.FromMilliseconds(50);

    [Theory, InlineData(1), InlineData(16), InlineData(128)]
    public void TokensFor_RandomDevices_IsTheBestOfAll(int tile)
    {
        var random = new Random(tile);
        for (int trial = 0; trial < 500; trial++)
        {
            var time = LinearStepTime.Random(random);
            int most = random.Next(1, 600), context = random.Next(3) * random.Next(20_000), decodes = random.Next(80);
            var load = new StepLoad(decodes, decodes * (long)random.Next(3000), 0, 0);

            int tokens = new LatencyBudget(time, Target, tile).TokensFor(load, context, most);

            Assert.Equal(Best(time, load, context, most, tile), tokens);
        }
    }

    [Fact]
    public void TokensFor_ContextGrows_ChunksShrinkAndTheTimeStays()
    {
        var time = new LinearStepTime(5e-3, 0.1e-3, 0.05e-3, 0, 0.02e-6);
        var budget = new LatencyBudget(time, Target);
        int before = int.MaxValue;
        for (int context = 0; context < 100_000; context += 10_000)
        {
            int chunk = budget.TokensFor(new StepLoad(10, 10_000, 0, 0), context, 100_000) - 10;
            Assert.InRange(chunk, 1, before - 1);
            double seconds = time.SecondsOf(new StepLoad(10, 10_000, chunk, chunk * (long)context + chunk * (chunk + 1L) / 2));
            Assert.InRange(seconds, 0.045, 0.05);
            before = chunk;
        }
    }

    [Fact]
    public void TokensFor_DecodesAloneTakeLonger_AsksForNothingElse() =>
        Assert.Equal(30, new LatencyBudget(new LinearStepTime(0, 2e-3, 0.1e-3, 0, 0), Target).TokensFor(new StepLoad(30, 0, 0, 0), 0, 512));

    [Fact]
    public void TokensFor_NothingLearned_TakesAll() => Assert.Equal(512, new LatencyBudget(new LearnedStepTime(), Target).TokensFor(default, 0, 512));

    [Fact]
    public void Observe_TimesVary_NineteenOfTwentyStepsMeetTheTarget()
    {
        var random = new Random(3);
        var device = new LinearStepTime(5e-3, 0.1e-3, 0.1e-3, 1e-8, 1e-8);
        var budget = new LatencyBudget(new LearnedStepTime(), Target);
        int late = 0, tokens = 0;
        for (int step = 0; step < 3000; step++)
        {
            var decodes = new StepLoad(random.Next(1, 50), 20_000, 0, 0);
            int prompt = budget.TokensFor(decodes, 0, 2000) - decodes.Decodes;
            StepLoad load = decodes with { PromptTokens = prompt, PromptContext = prompt * (prompt + 1L) / 2 };
            double seconds = device.SecondsOf(load) * (0.8 + 0.4 * random.NextDouble());
            budget.Observe(load, seconds);
            if (step < 500) continue;
            late += seconds > 0.05 ? 1 : 0;
            tokens += prompt;
        }

        Assert.InRange(late / 2500.0, 0.02, 0.08);
        Assert.InRange(budget.Caution, 1.1, 1.3); // times vary by 20 %
        Assert.InRange(tokens / 2500, 280, 420); // 20 % less than would be without the variation
    }

    [Fact]
    public void Observe_NothingKnownAtFirst_FindsTheTargetInAFewSteps()
    {
        var device = new LinearStepTime(4e-3, 0.2e-3, 0.5e-3, 1e-7, 1e-7);
        var budget = new LatencyBudget(new LearnedStepTime(), Target);
        List<double> times = [];
        for (int step = 0, context = 0; step < 40; step++)
        {
            var decodes = new StepLoad(8, 8 * (500 + step), 0, 0);
            int prompt = budget.TokensFor(decodes, context, 512) - 8;
            StepLoad load = decodes with { PromptTokens = prompt, PromptContext = prompt * (long)context + prompt * (prompt + 1L) / 2 };
            times.Add(device.SecondsOf(load));
            budget.Observe(load, times[^1]);
            context += prompt;
        }

        Assert.True(times[0] > 0.2, "The first step was not larger than the target allows.");
        Assert.InRange(times.Skip(1).Max(), 0, 0.065); // the first step did not show what context costs
        Assert.InRange(times.Skip(10).Average(), 0.04, 0.051);
    }

    [Fact]
    public void Constructor_NoTargetOrNoTile_Throws()
    {
        Assert.Contains("more than 0 s", Assert.Throws<ArgumentException>(() => new LatencyBudget(new LearnedStepTime(), TimeSpan.Zero)).Message, StringComparison.Ordinal);
        Assert.Contains("1 token or more", Assert.Throws<ArgumentException>(() => new LatencyBudget(new LearnedStepTime(), Target, 0)).Message, StringComparison.Ordinal);
    }

    /// <summary>Tries every number of prompt tokens; then cuts the last tile where that computes more prompt tokens in a second.</summary>
    private static int Best(LinearStepTime time, StepLoad load, int context, int most, int tile)
    {
        int prompt = Enumerable.Range(0, Math.Max(0, most - load.Decodes) + 1).Where(count => count == 0 || Seconds(count) <= 0.05).Max();
        int total = load.Decodes + prompt, cut = total / tile * tile - load.Decodes, full = (total + tile - 1) / tile * tile - load.Decodes;
        bool cuts = cut > 0 && cut < prompt && cut / Seconds(cut) >= prompt / Seconds(full);
        return Math.Max(1, load.Decodes + (cuts ? cut : prompt));

        double Seconds(int count) => time.SecondsOf(load with { PromptTokens = count, PromptContext = Enumerable.Range(1, count).Sum(i => (long)context + i) });
    }
}
