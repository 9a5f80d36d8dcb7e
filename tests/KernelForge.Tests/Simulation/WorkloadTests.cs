using KernelForge.Inference;
using SimulatedWorkload = KernelForge.Inference.Workload;

namespace KernelForge.Tests;

public class WorkloadTests
{
    [Fact]
    public void BatchLlm_HasItsGroupsShuffled()
    {
        SimulatedWorkload workload = Simulated.Named("batchllm", 64, scale: 1);

        var groups = workload.Requests.GroupBy(request => string.Join(',', request.Request.PromptTokenIds[..2000].ToArray())).ToList();
        Assert.Equal([16, 16, 16, 16], groups.Select(group => group.Count()));
        Assert.All(workload.Requests, request => Assert.Equal((2200, 100, 100), (request.Request.PromptTokenIds.Length, request.OutputTokens, request.Request.Sampling.MaxTokens)));
        Assert.Equal(64, workload.Requests.Select(request => string.Join(',', request.Request.PromptTokenIds[2000..].ToArray())).Distinct().Count());
        Assert.NotEqual(groups[0].Key, string.Join(',', workload.Requests.Take(16).Last().Request.PromptTokenIds[..2000].ToArray()));
        Assert.True(workload.IsKnownAtStart);
    }

    [Fact]
    public void ShareGpt_HasThePublishedMeansAndSharesTheSystemPromptOnly()
    {
        SimulatedWorkload workload = Simulated.Named("sharegpt", 8000, scale: 1);

        Assert.InRange(workload.Requests.Average(request => request.Request.PromptTokenIds.Length), 161.31 * 0.95, 161.31 * 1.05);
        Assert.InRange(workload.Requests.Average(request => request.OutputTokens), 337.99 * 0.95, 337.99 * 1.05);
        Assert.InRange(LongestCommonPrefix(workload, count: 200), 32, 34); // a token more by chance
    }

    [Fact]
    public void TwoLevel_CanSaveWhatTheIndustrialWorkloadCan()
    {
        var sharable = new SharablePrefixes(16);
        long tokens = 0;
        foreach (SimulatedRequest request in Simulated.Named("two-level", 3000, scale: 1).Requests)
        {
            sharable.Add(request.Request.PromptTokenIds, known: 0);
            tokens += request.Request.PromptTokenIds.Length;
        }
        Assert.InRange((double)sharable.Tokens / tokens, 0.56, 0.60);
    }

    [Fact]
    public void Agents_CountTurnsAndStayWithinTheContext()
    {
        SimulatedWorkload workload = Simulated.Named("agents", 300, scale: 1);

        Assert.Equal(300, workload.RequestCount);
        Assert.False(workload.IsKnownAtStart);
        Assert.InRange(workload.Requests.Average(request => request.Turns), 4, 12);
        foreach (SimulatedRequest request in workload.Requests)
        {
            int context = request.Request.PromptTokenIds.Length + request.OutputTokens;
            for (FollowUp? turn = request.Next; turn is not null; turn = turn.Next) context += turn.NewTokens.Count + turn.OutputTokens;
            Assert.InRange(context, 1502, 8000);
        }
    }

    [Theory]
    [InlineData("batchllm")]
    [InlineData("two-level")]
    [InlineData("sharegpt")]
    [InlineData("agents")]
    public void Named_SameSeed_SameRequests(string name)
    {
        static List<int> Tokens(SimulatedWorkload workload) => [.. workload.Requests.SelectMany(request => request.Request.PromptTokenIds.ToArray().Append(request.OutputTokens))];

        Assert.Equal(Tokens(Simulated.Named(name, 50)), Tokens(Simulated.Named(name, 50)));
        Assert.NotEqual(Tokens(Simulated.Named(name, 50)), Tokens(Simulated.Named(name, 50, seed: 2)));
        Assert.Equal(50, Simulated.Named(name, 50).RequestCount);
    }

    [Fact]
    public void Named_Rate_RequestsArriveOverTime()
    {
        SimulatedWorkload workload = Simulated.Named("sharegpt", 2000, rate: 20);

        double[] arrivals = [.. workload.Requests.Select(request => request.Arrival.TotalSeconds)];
        Assert.Equal(arrivals.Order(), arrivals);
        Assert.InRange(arrivals[^1], 90, 110);
        double[] gaps = [.. arrivals.Zip(arrivals.Skip(1), (a, b) => b - a)];
        Assert.InRange(gaps.Count(gap => gap > 0.1) / 2000.0, Math.Exp(-2) - 0.03, Math.Exp(-2) + 0.03); // exponential gaps
        Assert.False(workload.IsKnownAtStart);
    }

    [Theory]
    [InlineData(OutputLengths.History, null)]
    [InlineData(OutputLengths.Oracle, 7)]
    [InlineData(OutputLengths.Limit, 90)]
    public void Expected_SaysWhatItMay(OutputLengths lengths, int? expected) => Assert.Equal(expected, SimulatedWorkload.Expected(lengths, 7, 90));

    [Fact]
    public void Named_Unknown_ListsTheNames()
    {
        ArgumentException error = Assert.Throws<ArgumentException>(() => SimulatedWorkload.Named("batchlm"));
        Assert.Contains("batchllm, two-level, sharegpt, agents", error.Message);
    }

    [Fact]
    public void Named_OptionsOutOfRange_Throw()
    {
        Assert.Contains("Requests", Assert.Throws<ArgumentException>(() => SimulatedWorkload.Named("sharegpt", new WorkloadOptions { Requests = 0 })).Message);
        Assert.Throws<ArgumentException>(() => SimulatedWorkload.Named("sharegpt", new WorkloadOptions { Rate = 0 }));
        Assert.Throws<ArgumentException>(() => SimulatedWorkload.Named("sharegpt", new WorkloadOptions { LengthScale = double.NaN }));
        Assert.Throws<ArgumentException>(() => new SimulatedWorkload("none", []));
    }

    [Theory]
    [InlineData(-1, 5, 10)]
    [InlineData(0, 0, 10)]
    [InlineData(0, 11, 10)]
    public void SimulatedRequest_OutOfRange_Throws(double arrival, int output, int limit) =>
        Assert.Throws<ArgumentException>(() => Simulated.Request(20, output, arrival, limit: limit));

    [Fact]
    public void SharablePrefixes_RandomPrompts_EqualsBruteForce()
    {
        var random = new Random(3);
        for (int round = 0; round < 300; round++)
        {
            int[][] prompts = [.. Enumerable.Range(0, random.Next(1, 9)).Select(_ => Enumerable.Range(0, random.Next(1, 9)).Select(_ => random.Next(2)).ToArray())];
            var sharable = new SharablePrefixes(2);
            foreach (int[] prompt in prompts) sharable.Add(prompt, known: 0);
            Assert.Equal(BruteForce(prompts), sharable.Tokens);
        }
    }

    /// <summary>Prompts one after the other, each taking from those before it all full blocks but one with its last token.</summary>
    private static long BruteForce(int[][] prompts)
    {
        // A block that ends a prompt is computed by it whatever was before, so that those prompts may as well have gone first.
        var cached = new HashSet<string>();
        foreach (int[] prompt in prompts.Where(prompt => prompt.Length % 2 == 0)) cached.Add(string.Join(',', prompt));
        long saved = 0;
        foreach (int[] prompt in prompts)
        {
            for (int end = 2; end < prompt.Length; end += 2)
            {
                if (!cached.Add(string.Join(',', prompt[..end]))) saved += 2;
            }
        }
        return saved;
    }

    private static int LongestCommonPrefix(SimulatedWorkload workload, int count)
    {
        int longest = 0;
        for (int i = 0; i < count; i++)
            for (int j = 0; j < i; j++)
                longest = Math.Max(longest, workload.Requests[i].Request.PromptTokenIds.CommonPrefixLength(workload.Requests[j].Request.PromptTokenIds));
        return longest;
    }
}
