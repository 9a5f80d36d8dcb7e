using KernelForge.Inference;

namespace KernelForge.Tests;

public class BlendOrderTests
{
    [Fact]
    public void LeftShare_PublishedExample_SplitsTheMemoryAsPublished()
    {
        // 60 GB of KV, densities 1.27 of all, 3.73 left, 0.096 right: 19.3 GB and 40.7 GB.
        Assert.Equal(19.3 / 60, BlendOrder.LeftShare(1.27, 3.73, 0.096), 0.002);
        Assert.Equal(1, BlendOrder.LeftShare(5, 4, 1));
        Assert.Equal(0, BlendOrder.LeftShare(0.5, 4, 1));
        Assert.Equal(0.5, BlendOrder.LeftShare(2, 2, 2));
    }

    [Fact]
    public void Order_TwoKindsOfRequests_BlendsThemFromBothEnds()
    {
        // 40 tokens for 350 reads, 50 for 800, 90 for 1,150 of the whole. The dense ones get (78 - 62.5) / (114 - 62.5) of the reads: as many requests as the
        // others.
        Request[] requests = [.. Enumerable.Range(0, 40).Select(i => Prompt(30, from: 100 * i, maxTokens: i < 20 ? 10 : 20))];
        var order = new BlendOrder(GlobalPrefixPlan.Of(requests, 4), 1, 1);

        int[] byPlace = [.. Enumerable.Range(0, 40)];
        Array.Sort(order.Order.ToArray(), byPlace);

        for (int places = 4; places <= 40; places += 4) Assert.InRange(byPlace.Take(places).Count(i => i < 20), places / 2 - 1, places / 2 + 1);
    }

    [Fact]
    public void Order_SharedPrefixesOfManySizes_KeepsNearlyAllSharing()
    {
        var random = new Random(9);
        Request[] requests = [.. Enumerable.Range(0, 600).Select(i => Tree(random, system: i % 3, document: i % 60, i))];
        random.Shuffle(requests);
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, 4);
        var order = new BlendOrder(plan, secondsPerToken: 1, secondsPerKvToken: 0.05);

        Assert.InRange(order.SharedTokens, 0.97 * plan.Shared.Unrestricted, plan.Shared.Unrestricted);
        Assert.Equal(Enumerable.Range(0, 600), order.Order.ToArray().Order());

        // And in a run with room for few of the prefixes at a time.
        var run = new SchedulerRun(new SchedulerOptions
        {
            BlockCount = 120, BlockSize = 4, ContextLength = 200, TokenBudget = 100, MaxSequences = 8, Order = order, PrefixPlan = plan,
        });
        foreach (Request request in requests) run.Add(request);
        run.Finish();
        Assert.InRange(plan.Shared.Prompt - run.Scheduler.Counters.PromptTokensComputed, 0.97 * plan.Shared.Unrestricted, plan.Shared.Unrestricted);
    }

    [Theory, InlineData(0, 1), InlineData(1, double.NaN), InlineData(-1, 1), InlineData(1, double.PositiveInfinity)]
    public void Constructor_NotPositive_Throws(double compute, double read)
    {
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of([Prompt(3, 0, 1)], 4);
        var refusal = Assert.Throws<ArgumentException>(() => new BlendOrder(plan, compute, read));
        Assert.Contains("must be a positive number", refusal.Message, StringComparison.Ordinal);
    }

    private static Request Tree(Random random, int system, int document, int number) => new(
        [.. Enumerable.Repeat(system, 12), .. Enumerable.Repeat(10 + document, 40), 1000 + number, .. Enumerable.Range(0, random.Next(8))],
        new SamplingOptions { MaxTokens = document % 2 == 0 ? random.Next(1, 5) : random.Next(20, 40) });

    private static Request Prompt(int length, int from, int maxTokens) =>
        new([.. Enumerable.Range(from, length)], new SamplingOptions { MaxTokens = maxTokens });
}
