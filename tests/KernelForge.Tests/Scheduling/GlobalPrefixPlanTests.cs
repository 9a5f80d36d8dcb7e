using KernelForge.Inference;

namespace KernelForge.Tests;

public class GlobalPrefixPlanTests
{
    [Fact]
    public void Of_TwoLevels_SharesWhatEachWayCan()
    {
        // Blocks of 2. A and B are 2 blocks after 1 common one, each for three requests; nobody else shares.
        int[][] documents = [[2, 3, 4, 5], [6, 7, 8, 9]];
        Request[] requests = [.. Enumerable.Range(0, 6).Select(i => Prompt([1, 1, .. documents[i % 2], 10 + i])), Prompt([99, 98, 97])];

        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, blockSize: 2);

        // Unrestricted: 5 · 2 + 2 · 2 · 4. One level: two groups of 6 tokens, 2 · 2 · 6. The first level alone: 5 · 2.
        Assert.Equal(new SharedTokens(Prompt: 45, Unrestricted: 26, MultiLevel: 26, OneLevel: 24, Greedy: 24, FirstLevel: 10), plan.Shared);
        Assert.Equal([new(2, 6, -1), new(6, 3, 0), new(6, 3, 0)], plan.Groups.Groups.ToArray());
        Assert.Equal([new(6, 3, -1), new(6, 3, -1)], plan.OneLevelGroups.Groups.ToArray());
        Assert.Equal([1, 2, 1, 2, 1, 2, -1], plan.Groups.GroupOf.ToArray());
        Assert.Equal([0, 2, 4, 1, 3, 5, 6], ByPlace(plan)); // 96 tokens to generate for 16 to compute, and 16 for 3
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void Shared_RandomPrompts_EqualsBruteForce(int blockSize)
    {
        var random = new Random(blockSize);
        for (int trial = 0; trial < 150; trial++)
        {
            Request[] requests = RandomRequests(random, random.Next(1, 11), blockSize, samples: trial % 5 == 0);
            Dictionary<string, int> prefixes = SharedPrefixes(requests, blockSize);
            if (prefixes.Count > 12) continue; // 4,096 subsets are enough
            GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, blockSize);

            Assert.Equal(Unrestricted(requests, blockSize), plan.Shared.Unrestricted);
            Assert.Equal(plan.Shared.Unrestricted, plan.Shared.MultiLevel);
            Assert.Equal(Subsets(prefixes.Keys).Max(open => OneLevel(requests, open, blockSize)), plan.Shared.OneLevel);
            long[] better = [plan.Shared.FirstLevel, plan.Shared.Greedy, plan.Shared.OneLevel, plan.Shared.Unrestricted];
            Assert.Equal(better.Order(), better);
            CheckGroups(plan.Groups, requests, oneLevel: false);
            CheckGroups(plan.OneLevelGroups, requests, oneLevel: true);
        }
    }

    [Fact]
    public void Groups_LevelCost_EqualsBruteForce()
    {
        static double Cost(int members, int tokens) => 1.5 + 0.7 * members;
        var random = new Random(5);
        int flattened = 0;
        for (int trial = 0; trial < 150; trial++)
        {
            Request[] requests = RandomRequests(random, random.Next(2, 10), 1, samples: false);
            Dictionary<string, int> prefixes = SharedPrefixes(requests, 1);
            if (prefixes.Count > 12) continue;
            GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, 1, new PrefixPlanOptions { LevelCost = Cost });

            double cost = 0;
            foreach (PrefixGroup group in plan.Groups.Groups) cost += Cost(group.Members, 0);
            double best = Subsets(prefixes.Keys).Max(open => SeveralLevels(prefixes, open) - open.Sum(prefix => Cost(prefixes[prefix], 0)));
            Assert.Equal(best, plan.Shared.MultiLevel - cost, 1e-9);
            CheckGroups(plan.Groups, requests, oneLevel: false);
            if (plan.Shared.MultiLevel < plan.Shared.Unrestricted) flattened++;
        }
        Assert.True(flattened > 20, "The cost never mattered.");
    }

    [Theory, InlineData(1, 1), InlineData(2, 4)]
    public void Order_RandomPrompts_KeepsSharersTogetherAndGoesByRatio(int blockSize, int seed)
    {
        var random = new Random(seed);
        for (int trial = 0; trial < 100; trial++)
        {
            Request[] requests = RandomRequests(random, random.Next(1, 30), blockSize, samples: trial % 3 == 0);
            GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, blockSize);

            int[] byPlace = ByPlace(plan);
            foreach (string prefix in SharedPrefixes(requests, blockSize).Keys)
            {
                bool Shares(int place) => SharedPart(requests[byPlace[place]], blockSize).StartsWith(prefix, StringComparison.Ordinal);
                int[] places = [.. Enumerable.Range(0, requests.Length).Where(Shares)];
                Assert.Equal(places.Length - 1, places[^1] - places[0]);
            }

            // What begins with different blocks is a group of its own; those without a sharable block are alone.
            var groups = byPlace.GroupBy(i => SharedPart(requests[i], blockSize) is { Length: > 0 } part ? part[..blockSize] : $"alone {i}").ToArray();
            (double Ratio, int First)[] ratios = [.. groups.Select(group => (Ratio(requests, [.. group], blockSize), group.Min()))];
            Assert.Equal(ratios.OrderByDescending(group => Math.Round(group.Ratio, 9)).ThenBy(group => group.First), ratios);
        }
    }

    [Fact]
    public void Order_SampledLengths_EstimatesOthersByTheNearestSample()
    {
        // Two groups of three that look alike; in the second one request has been run and generated much, in the first one little.
        int[][] prompts = [.. Enumerable.Range(0, 6).Select(i => (int[])[i / 3, 1, 2, 3, 10 + i]), [7, 7, 7, 7, 7]];
        Request[] requests = [.. prompts.Select(prompt => Prompt(prompt, maxTokens: 100))];
        int?[] sampled = [3, null, null, null, 50, null, null];

        GlobalPrefixPlan blind = GlobalPrefixPlan.Of(requests, 2);
        GlobalPrefixPlan informed = GlobalPrefixPlan.Of(requests, 2, new PrefixPlanOptions { SampledTokens = sampled });

        Assert.Equal([0, 1, 2, 3, 4, 5, 6], ByPlace(blind));
        Assert.Equal([3, 4, 5, 6, 0, 1, 2], ByPlace(informed)); // 150 of 7 tokens, then the mean of both samples, 26.5 of 5, then 9 of 7
    }

    [Fact]
    public void Order_ExpectedTokens_ComeBeforeTheLimit()
    {
        Request[] requests = [Expecting(4), Expecting(9), Expecting(null), Expecting(20)]; // the limit is 16, also for what is expected

        Assert.Equal([2, 3, 1, 0], ByPlace(GlobalPrefixPlan.Of(requests, 4)));

        static Request Expecting(int? tokens) => new([1, 2, 3], new SamplingOptions { MaxTokens = 16 }) { ExpectedTokens = tokens };
    }

    [Fact]
    public void OrderPolicy_SamplesAndLateArrivals_KeepTheirRankOrGoLast()
    {
        var samples = new Request([4, 5, 6], new SamplingOptions { N = 3, MaxTokens = 9 });
        Request[] requests = [Prompt([1, 2, 3], maxTokens: 1), samples, Prompt([7, 8], maxTokens: 5)];
        IQueueOrder order = GlobalPrefixPlan.Of(requests, 2).OrderPolicy;

        Assert.Equal([2, 0, 0, 0, 1, 10, 11], Enumerable.Range(0, 7).Select(arrival => order.KeyOf(new QueueEntry(arrival, 1, 1))));
        Assert.Equal(1, order.KeyOf(new QueueEntry(40, 1, 1) { Planned = 4 }));
        Assert.Equal(5 + 3, order.KeyOf(new QueueEntry(3, 1, 1) { Planned = -1 }));
    }

    [Theory]
    [InlineData("nested")] // each prompt begins with the one before
    [InlineData("equal")]
    [InlineData("stem")] // all begin alike, inside the first block
    [InlineData("comb")] // each parts from the longest at another token
    public void Of_OneSidedTrees_TakesTimeInProportionToTheTokens(string shape)
    {
        const int Count = 1000, BlockSize = 16;
        int[] longest = [.. Enumerable.Range(0, Count)];
        Request[] requests = [.. Enumerable.Range(1, Count - 1).Select(i => shape switch
        {
            "nested" => Prompt(longest[..i]),
            "equal" => Prompt(longest[..100]),
            "stem" => Prompt([1, 2, 3, .. longest[i..Math.Min(i + 40, Count)]]),
            _ => Prompt([.. longest[..i], -1, .. longest[..20]]),
        })];
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20)); // it takes a few milliseconds

        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, BlockSize, cancellation: limit.Token);

        Assert.Equal(Unrestricted(requests, BlockSize), plan.Shared.Unrestricted);
    }

    [Fact]
    public void Of_NoRequests_IsAnEmptyPlan()
    {
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of([], 16);

        Assert.Equal((0, 0, default), (plan.Order.Length, plan.Groups.Groups.Length, plan.Shared));
        Assert.Empty(plan.ChooseSample(0.5));
        Assert.Equal(3, plan.OrderPolicy.KeyOf(new QueueEntry(3, 1, 1)));
        Assert.Equal(0, new BlendOrder(plan, 1, 1).SharedTokens);
    }

    [Fact]
    public void Of_Progress_RisesToTheWhole()
    {
        var progress = new ProgressList();

        GlobalPrefixPlan.Of([.. Enumerable.Range(0, 5000).Select(i => Prompt([i / 10, i, 3]))], 1, progress: progress);

        Assert.InRange(progress.Shares.Count, 3, 6);
        Assert.Equal(progress.Shares.Distinct().Order(), progress.Shares);
        Assert.InRange(progress.Shares[^1], 0.7, 1);
    }

    [Fact]
    public void ChooseSample_Share_TakesSomeOfEveryLargeGroup()
    {
        Request[] requests = [.. Enumerable.Range(0, 400).Select(i => Prompt([i % 4, 1, 2, 3, i]))];
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of(requests, 2);

        int[] sample = plan.ChooseSample(0.02);

        Assert.Equal(8, sample.Distinct().Count());
        Assert.All(Enumerable.Range(0, 4), group => Assert.Equal(2, sample.Count(i => i % 4 == group)));
    }

    [Fact]
    public void Of_BadArguments_ThrowsNamingThem()
    {
        Assert.Contains("block size", Assert.Throws<ArgumentException>(() => GlobalPrefixPlan.Of([], 0)).Message, StringComparison.Ordinal);
        var missing = Assert.Throws<ArgumentException>(() => GlobalPrefixPlan.Of([Prompt([1])], 4, new PrefixPlanOptions { SampledTokens = [] }));
        Assert.Contains("expected 1 sampled lengths", missing.Message, StringComparison.Ordinal);
        var cancelled = new CancellationToken(canceled: true);
        Assert.Throws<OperationCanceledException>(() => GlobalPrefixPlan.Of([Prompt([1]), Prompt([2])], 4, cancellation: cancelled));
        Assert.Throws<ArgumentException>(() => GlobalPrefixPlan.Of([Prompt([1])], 4).ChooseSample(0));
        GlobalPrefixPlan plan = GlobalPrefixPlan.Of([Prompt([1])], 4);
        var options = new SchedulerOptions { BlockCount = 4, BlockSize = 8, ContextLength = 32, PrefixPlan = plan };
        var other = Assert.Throws<ArgumentException>(() => new Scheduler(options));
        Assert.Contains("blocks of 8 tokens, not 4", other.Message, StringComparison.Ordinal);
    }

    private static void CheckGroups(PrefixGrouping grouping, Request[] requests, bool oneLevel)
    {
        long shared = 0;
        for (int group = 0; group < grouping.Groups.Length; group++)
        {
            (int tokens, int members, int parent) = grouping.Groups[group];
            Request[] sharers = [.. Enumerable.Range(0, requests.Length).Where(i => IsIn(grouping, i, group, oneLevel)).Select(i => requests[i])];
            Assert.Equal(members, sharers.Sum(request => request.Sampling.N));
            Assert.Single(sharers.Select(request => Text(request)[..tokens]).Distinct()); // and so the prompt is the prefix and its own rest
            Assert.All(sharers, request => Assert.True(tokens < request.PromptTokenIds.Length));
            shared += (members - 1L) * (tokens - (parent < 0 ? 0 : grouping.Groups[parent].PrefixTokens));
        }
        Assert.Equal(shared, grouping.SharedTokens);
    }

    private static bool IsIn(PrefixGrouping grouping, int request, int group, bool oneLevel)
    {
        int at = grouping.GroupOf[request];
        while (!oneLevel && at > group) at = grouping.Groups[at].Parent;
        return at == group;
    }

    private static double Ratio(Request[] requests, int[] group, int blockSize)
    {
        var blocks = new HashSet<string>();
        double outputs = 0, tokens = 0;
        foreach (Request request in group.Select(i => requests[i]))
        {
            string part = SharedPart(request, blockSize);
            for (int end = blockSize; end <= part.Length; end += blockSize) blocks.Add(part[..end]);
            outputs += request.Sampling.N * request.Sampling.MaxTokens;
            tokens += request.Sampling.N * (request.PromptTokenIds.Length - part.Length);
        }
        return outputs / (tokens + blocks.Count * blockSize);
    }

    private static long Unrestricted(Request[] requests, int blockSize)
    {
        var distinct = new HashSet<string>();
        long tokens = 0;
        foreach (Request request in requests)
        {
            string part = SharedPart(request, blockSize);
            tokens += part.Length * request.Sampling.N;
            for (int end = blockSize; end <= part.Length; end += blockSize) distinct.Add(part[..end]);
        }
        return tokens - distinct.Count * blockSize;
    }

    private static long OneLevel(Request[] requests, List<string> open, int blockSize)
    {
        long saved = -open.Sum(prefix => prefix.Length);
        foreach (Request request in requests)
        {
            string part = SharedPart(request, blockSize);
            saved += request.Sampling.N * DeepestOf(open, part);
        }
        return saved;
    }

    private static double SeveralLevels(Dictionary<string, int> prefixes, List<string> open) =>
        open.Sum(prefix => (prefixes[prefix] - 1.0) * (prefix.Length - DeepestOf(open, prefix[..^1])));

    private static int DeepestOf(List<string> open, string text) =>
        open.Where(prefix => text.StartsWith(prefix, StringComparison.Ordinal)).Select(prefix => prefix.Length).DefaultIfEmpty().Max();

    /// <summary>Prefixes of whole blocks that two sequences or more share and after which they part or end, and how many share each.</summary>
    private static Dictionary<string, int> SharedPrefixes(Request[] requests, int blockSize)
    {
        string[] parts = [.. requests.SelectMany(request => Enumerable.Repeat(SharedPart(request, blockSize), request.Sampling.N))];
        var found = new Dictionary<string, int>();
        foreach (string part in parts)
        {
            for (int end = blockSize; end <= part.Length; end += blockSize)
            {
                string prefix = part[..end];
                string[] sharers = [.. parts.Where(other => other.StartsWith(prefix, StringComparison.Ordinal))];
                string[] next = [.. sharers.Select(other => other.Length > end ? other[..(end + blockSize)] : "")];
                if (sharers.Length > 1 && (next.Distinct().Count() > 1 || next[0].Length == 0)) found[prefix] = sharers.Length;
            }
        }
        return found;
    }

    private static IEnumerable<List<string>> Subsets(IEnumerable<string> prefixes)
    {
        string[] all = [.. prefixes];
        for (int bits = 0; bits < 1 << all.Length; bits++) yield return [.. all.Where((_, i) => (bits >> i & 1) == 1)];
    }

    private static Request[] RandomRequests(Random random, int count, int blockSize, bool samples) => [.. Enumerable.Range(0, count).Select(_ => new Request(
        [.. Enumerable.Range(0, random.Next(1, 2 + 6 * blockSize)).Select(_ => random.Next(5) == 0 ? 1 : 0)],
        new SamplingOptions { MaxTokens = random.Next(1, 9), N = samples && random.Next(4) == 0 ? 2 : 1 }))];

    private static string Text(Request request) => string.Concat(request.PromptTokenIds.ToArray().Select(token => (char)('A' + token)));

    private static string SharedPart(Request request, int blockSize) => Text(request)[..((request.PromptTokenIds.Length - 1) / blockSize * blockSize)];

    private static int[] ByPlace(GlobalPrefixPlan plan)
    {
        int[] byPlace = [.. Enumerable.Range(0, plan.Requests.Count)];
        Array.Sort(plan.Order.ToArray(), byPlace);
        return byPlace;
    }

    private static Request Prompt(int[] tokens, int maxTokens = 16) => new(tokens, new SamplingOptions { MaxTokens = maxTokens });

    private sealed class ProgressList : IProgress<double>
    {
        public List<double> Shares { get; } = [];

        public void Report(double value) => Shares.Add(value);
    }
}
