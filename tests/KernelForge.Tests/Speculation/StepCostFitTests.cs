using KernelForge.Inference;

namespace KernelForge.Tests;

public class StepCostFitTests
{
    private static readonly StepCost True = new(Step: 8e-3, Token: 0.4e-3, DraftPass: 1.5e-3, DraftToken: 0.06e-3);

    [Fact]
    public void Cost_NoisySteps_IsFound() => AssertNear(True, Fit(steps: 300, noise: 0.1), 0.15);

    [Fact]
    public void Cost_ExactSteps_IsFoundExactly() => AssertNear(True, Fit(steps: 300, noise: 0), 0.01);

    // A collection of garbage, another process: every tenth step takes 5 to 50 times as long, and the first, which compiles code, a thousand times.
    [Fact]
    public void Cost_SomeStepsTakeFarTooLong_IsStillFound()
    {
        var fit = new StepCostFit();
        fit.Observe(1000 * True.Step, 10, 1000 * True.DraftPass, 4, 10);

        AssertNear(True, Fit(fit, 300, 0.05, True, random => random.Next(10) == 0 ? random.Next(5, 50) : 1), 0.2);
    }

    [Fact]
    public void Cost_MachineSlowsDown_IsLearnedAnew()
    {
        var fit = new StepCostFit();
        Fit(fit, 300, 0.05, True);
        var slow = new StepCost(3 * True.Step, 3 * True.Token, 3 * True.DraftPass, 3 * True.DraftToken);

        AssertNear(slow, Fit(fit, 400, 0.05, slow), 0.15);
        AssertNear(True, Fit(fit, 400, 0.05, True), 0.15);
    }

    [Fact]
    public void Cost_AllStepsAlike_AddsUpAndSharesEqually()
    {
        var fit = new StepCostFit();
        for (int i = 0; i < 100; i++) fit.Observe(20e-3, 10, 6e-3, 3, 12);

        AssertNear(new StepCost(10e-3, 1e-3, 1e-3, 0.25e-3), fit.Cost, 0.01);
    }

    [Fact]
    public void Cost_LargerStepsFaster_HasNoNegativeTerm()
    {
        var fit = new StepCostFit();
        for (int i = 0; i < 100; i++) fit.Observe(20e-3 - i % 10 * 1e-3, 10 + i % 10, 1e-3 * (i % 4) * (i % 4) + 1e-6, i % 4, 1);

        Assert.Equal(0, fit.Cost.Token);
        Assert.InRange(fit.Cost.Step, 11e-3, 20e-3);
        Assert.True(fit.Cost is { DraftPass: >= 0, DraftToken: >= 0 }, $"{fit.Cost}");
    }

    [Fact]
    public void Cost_DrafterWithoutModel_HasNoPasses()
    {
        var fit = new StepCostFit();
        for (int i = 0; i < 100; i++) fit.Observe(20e-3 + i % 10 * 1e-3, 10 + i % 10, 1e-6 * (1 + i % 7), 0, 1 + i % 7);

        AssertNear(new StepCost(10e-3, 1e-3, 0, 1e-6), fit.Cost, 0.01);
    }

    [Fact]
    public void Cost_TooFewSteps_IsUnknown()
    {
        var fit = new StepCostFit();
        for (int i = 0; i < 20; i++) fit.Observe(20e-3, 10, 0, 0, 0);
        Assert.Equal(default, fit.Cost); // what drafts cost is not known
        for (int i = 0; i < 4; i++) fit.Observe(20e-3, 10, 1e-3, 2, 4);
        Assert.NotEqual(default, fit.Cost);

        fit = new StepCostFit();
        for (int i = 0; i < 7; i++) fit.Observe(20e-3, 10, 1e-3, 2, 4);
        Assert.Equal(default, fit.Cost);
    }

    [Fact]
    public void Observe_TimesThatAreNone_AreIgnored()
    {
        var fit = new StepCostFit();
        for (int i = 0; i < 20; i++)
        {
            fit.Observe(0, 10, 0, 2, 4);
            fit.Observe(double.NaN, 10, -1, 2, 4);
        }
        Assert.Equal(default, fit.Cost);
    }

    private static StepCost Fit(int steps, double noise) => Fit(new StepCostFit(), steps, noise, True);

    private static StepCost Fit(StepCostFit fit, int steps, double noise, StepCost cost, Func<Random, double>? delay = null)
    {
        var random = new Random(3);
        for (int i = 0; i < steps; i++)
        {
            int sequences = random.Next(1, 33), passes = random.Next(0, 6), drafted = passes * random.Next(1, sequences + 1);
            int tokens = sequences + drafted + (random.Next(4) == 0 ? random.Next(200) : 0);
            double slower = delay?.Invoke(random) ?? 1;
            fit.Observe(
                (cost.Step + cost.Token * tokens) * Noise() * slower, tokens, (cost.DraftPass * passes + cost.DraftToken * drafted) * Noise() * slower, passes, drafted);
        }
        return fit.Cost;

        double Noise() => 1 + noise * (2 * random.NextDouble() - 1);
    }

    private static void AssertNear(StepCost expected, StepCost actual, double error)
    {
        Assert.InRange(actual.Step, (1 - error) * expected.Step, (1 + error) * expected.Step);
        Assert.InRange(actual.Token, (1 - error) * expected.Token, (1 + error) * expected.Token);
        Assert.InRange(actual.DraftPass, (1 - error) * expected.DraftPass, (1 + error) * expected.DraftPass);
        Assert.InRange(actual.DraftToken, (1 - error) * expected.DraftToken, (1 + error) * expected.DraftToken);
    }
}
