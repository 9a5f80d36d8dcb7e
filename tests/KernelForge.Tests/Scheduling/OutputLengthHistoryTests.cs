using KernelForge.Inference;

namespace KernelForge.Tests;

public class OutputLengthHistoryTests
{
    [Fact]
    public void TokensLeft_NothingEnded_IsTheMost() => Assert.Equal(77, new OutputLengthHistory(10, 0).TokensLeft(new OutputSoFar(1, "", 3, 77, null), 0));

    [Fact]
    public void TokensLeft_SomethingGenerated_DrawsAmongLongerOnesOnly()
    {
        OutputLengthHistory history = Filled(0, 10, 20, 30, 40);

        // Longer than 15: 20, 30, 40 and the unknown one.
        Assert.Equal([5, 15, 25, 500], new[] { 0.0, 0.25, 0.5, 0.75 }.Select(quantile => history.TokensLeft(Sofar(15, 500), quantile)));
        Assert.Equal([500, 500], new[] { 0.0, 0.99 }.Select(quantile => history.TokensLeft(Sofar(40, 500), quantile)));
        Assert.Equal(7, history.TokensLeft(Sofar(15, 7), 0.5)); // never beyond its limit
    }

    [Fact]
    public void TokensLeft_FewEnded_UnknownOnesStandForTheRest()
    {
        OutputLengthHistory history = Filled(firstUnknown: 4, 10); // 10, three unknown and the one that always is

        Assert.Equal([10, 500, 500], new[] { 0.19, 0.21, 0.99 }.Select(quantile => history.TokensLeft(Sofar(0, 500), quantile)));
    }

    [Fact]
    public void Add_MoreThanTheWindow_ForgetsTheOldest_Random()
    {
        var random = new Random(1);
        var history = new OutputLengthHistory(window: 5, firstUnknown: 0);
        var all = new List<int>();
        for (int i = 0; i < 200; i++)
        {
            all.Add(random.Next(1, 20));
            history.Add(new EndedOutput("", all[^1]));
            int[] window = [.. all.TakeLast(5).Order()];
            int generated = random.Next(20);
            int[] longer = [.. window.Where(length => length > generated)];
            for (int place = 0; place < longer.Length; place++)
                Assert.Equal(longer[place] - generated, history.TokensLeft(Sofar(generated, 100), (place + 0.5) / (longer.Length + 1)));
        }
    }

    [Fact]
    public void TaskClasses_HaveHistoriesOfTheirOwn()
    {
        OutputLengthHistory history = Filled(0, 10, 10, 10);
        Assert.Equal(100, history.TokensLeft(new OutputSoFar(0, "other", 0, 100, null), 0.1));
        history.Add(new EndedOutput("other", 50));
        Assert.Equal(50, history.TokensLeft(new OutputSoFar(0, "other", 0, 100, null), 0.1));
        Assert.Equal(10, history.TokensLeft(Sofar(0, 100), 0.1));
    }

    private static OutputSoFar Sofar(int generated, int most) => new(0, "", generated, most, null);

    private static OutputLengthHistory Filled(int firstUnknown, params int[] lengths)
    {
        var history = new OutputLengthHistory(window: 10, firstUnknown);
        foreach (int length in lengths) history.Add(new EndedOutput("", length));
        return history;
    }
}
