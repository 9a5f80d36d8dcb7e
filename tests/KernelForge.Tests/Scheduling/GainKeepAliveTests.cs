using KernelForge.Inference;

namespace KernelForge.Tests;

public class GainKeepAliveTests
{
    private static readonly LinearStepTime Time = new(0, 0, 1e-3, 0, 0); // a second for 1,000 tokens

    [Fact]
    public void BestTime_RandomPauses_GainsMostOfAllTimes()
    {
        var random = new Random(1);
        for (int trial = 0; trial < 300; trial++)
        {
            double[] pauses = [.. Enumerable.Range(0, random.Next(1, 20)).Select(_ => random.NextDouble() * random.Next(1, 100)).Order()];
            double saved = random.NextDouble() * 10, price = random.NextDouble();

            double best = GainKeepAlive.BestTime(pauses, saved, price);

            double most = Enumerable.Range(0, 2000).Select(i => Gain(pauses, saved, price, i * 0.05)).Concat(pauses.Select(pause => Gain(pauses, saved, price, pause))).Max();
            Assert.Equal(most, Gain(pauses, saved, price, best), 1e-9);
            Assert.Equal(Gain(pauses, saved, price, best), GainKeepAlive.GainOf(pauses, saved, price, 0, best), 1e-9);
        }
    }

    [Fact]
    public void GainOf_SomeTimeHasPassed_IsThatOfThePausesThatAreLonger()
    {
        double[] pauses = [1, 2, 6, 9];

        // Of 6 and 9 one is within 7: (10 - 0.5 * 3) and -0.5 * 4, halved.
        Assert.Equal((8.5 - 2) / 2, GainKeepAlive.GainOf(pauses, 10, 0.5, 3, 7), 1e-9);
        Assert.Equal(-0.5 * 2, GainKeepAlive.GainOf(pauses, 10, 0.5, 10, 12), 1e-9); // it never took as long
    }

    [Fact]
    public void KeepFor_NothingKnown_IsWhereThePriceHasEatenWhatIsSaved()
    {
        var turn = new EndedTurn("", Tokens: 2000, Share: 0.1, Load: 0.5);

        Assert.Equal(TimeSpan.FromSeconds(40), new GainKeepAlive(Time).KeepFor(turn)); // 2 s at 0.05 a second
        Assert.Equal(TimeSpan.FromSeconds(60), new GainKeepAlive(Time, wait: TimeSpan.FromSeconds(1)).KeepFor(turn));
        Assert.Equal(TimeSpan.FromMinutes(10), new GainKeepAlive(Time).KeepFor(turn with { Load = 0 })); // it costs nothing
        Assert.Equal(TimeSpan.FromSeconds(5), new GainKeepAlive(Time, longest: TimeSpan.FromSeconds(5)).KeepFor(turn));
    }

    [Fact]
    public void KeepFor_ClassesDiffer_EachHasItsOwnPauses()
    {
        var policy = new GainKeepAlive(Time);
        for (int i = 0; i < 100; i++)
        {
            policy.Resumed("search", TimeSpan.FromSeconds(3));
            policy.Resumed("person", TimeSpan.FromSeconds(400));
        }

        Assert.Equal(TimeSpan.FromSeconds(3), policy.KeepFor(new EndedTurn("search", 2000, 0.1, 0.5)));
        Assert.Equal(TimeSpan.Zero, policy.KeepFor(new EndedTurn("person", 2000, 0.1, 0.5))); // 20 s of price for 2 s saved
        Assert.Equal(TimeSpan.FromSeconds(3), policy.KeepFor(new EndedTurn("new", 2000, 0.1, 0.5))); // half of all come back then: 1 s for 0.15 s
    }

    [Fact]
    public void Scheduler_PausesOfAClass_AreLearnedAndKeptFor()
    {
        var policy = new GainKeepAlive(Time);
        var run = new SchedulerRun(new SchedulerOptions { BlockCount = 64, BlockSize = 4, ContextLength = 96, KeepAlive = policy });
        for (int turn = 0; turn < 20; turn++)
        {
            run.Add(new Request(Enumerable.Range(turn % 2 * 100, 20).ToArray(), new SamplingOptions { MaxTokens = 1 }) { Session = $"s{turn % 2}", TaskClass = "tool" });
            while (run.Scheduler.HasWork) run.Step();
            run.Scheduler.Now += TimeSpan.FromMilliseconds(70);
        }

        Assert.Equal(TimeSpan.FromMilliseconds(140), policy.KeepFor(new EndedTurn("tool", 2000, 0.1, 0.5)));
        Assert.Equal(18, run.Scheduler.Counters.TurnsResumed);
        run.Finish();
    }

    private static double Gain(double[] pauses, double saved, double price, double keep) =>
        pauses.Count(pause => pause <= keep) * saved / pauses.Length - pauses.Average(pause => Math.Min(pause, keep)) * price;
}
