using KernelForge.Inference;

namespace KernelForge.Tests;

public class LearnedStepTimeTests
{
    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4), InlineData(5)]
    public void SecondsOf_AfterMixedSteps_IsWhatTheDeviceTakes(int seed)
    {
        var random = new Random(seed);
        var device = LinearStepTime.Random(random);
        var learned = new LearnedStepTime();

        for (int i = 0; i < 300; i++) Learn(learned, device, LinearStepTime.RandomLoad(random));

        for (int i = 0; i < 100; i++)
        {
            StepLoad load = LinearStepTime.RandomLoad(random);
            Assert.InRange(learned.SecondsOf(load) / device.SecondsOf(load), 0.97, 1.03);
        }
        Assert.Equal(300, learned.Steps);
    }

    [Fact]
    public void SecondsOf_DeviceGetsSlower_Follows()
    {
        var random = new Random(6);
        LinearStepTime device = LinearStepTime.Random(random), slower = device with { Step = 2 * device.Step, Prompt = 3 * device.Prompt };
        var learned = new LearnedStepTime();
        for (int i = 0; i < 300; i++) Learn(learned, device, LinearStepTime.RandomLoad(random));

        for (int i = 0; i < 700; i++) Learn(learned, slower, LinearStepTime.RandomLoad(random));

        StepLoad load = LinearStepTime.RandomLoad(random);
        Assert.InRange(learned.SecondsOf(load) / slower.SecondsOf(load), 0.95, 1.05);
    }

    [Fact]
    public void SecondsOf_OneStepTookAHundredTimesAsLong_HardlyMoves()
    {
        var random = new Random(7);
        var device = LinearStepTime.Random(random);
        var learned = new LearnedStepTime();
        for (int i = 0; i < 300; i++) Learn(learned, device, LinearStepTime.RandomLoad(random));
        StepLoad load = LinearStepTime.RandomLoad(random);

        learned.Observe(load, 100 * device.SecondsOf(load));

        Assert.InRange(learned.SecondsOf(load) / device.SecondsOf(load), 0.9, 1.1);
    }

    [Fact]
    public void SecondsOf_MoreTokens_IsNeverLess()
    {
        var random = new Random(8);
        var learned = new LearnedStepTime();
        Assert.Equal(0, learned.SecondsOf(new StepLoad(1, 1, 1, 1)));
        for (int i = 0; i < 200; i++)
        {
            learned.Observe(LinearStepTime.RandomLoad(random), random.NextDouble()); // times that have nothing to do with the load
            StepLoad load = LinearStepTime.RandomLoad(random);
            StepLoad more = new(load.Decodes + 1, load.DecodeContext + 1, load.PromptTokens + 1, load.PromptContext + 1);
            Assert.InRange(learned.SecondsOf(load), 0, learned.SecondsOf(more));
        }
    }

    [Fact]
    public void Observe_TimesThatAreNone_AreIgnored()
    {
        var learned = new LearnedStepTime();
        foreach (double seconds in (double[])[0, -1, double.NaN, double.PositiveInfinity]) learned.Observe(new StepLoad(1, 1, 1, 1), seconds);

        Assert.Equal((0, 0), (learned.Steps, learned.SecondsOf(new StepLoad(1, 1, 1, 1))));
    }

    [Fact]
    public void Observe_AllocatesNothing()
    {
        var learned = new LearnedStepTime();
        Garbage.AssertNone(() => learned.Observe(new StepLoad(3, 300, 20, 2000), 0.01));
    }

    private static void Learn(LearnedStepTime learned, LinearStepTime device, in StepLoad load) => learned.Observe(load, device.SecondsOf(load));
}
