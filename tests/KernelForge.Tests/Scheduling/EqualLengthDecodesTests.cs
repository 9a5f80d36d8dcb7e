using KernelForge.Inference;

namespace KernelForge.Tests;

public class EqualLengthDecodesTests
{
    private static readonly SchedulerOptions Ample = new()
    {
        BlockCount = 256, BlockSize = 4, ContextLength = 128, TokenBudget = 64, EndTokenIds = [HashRunner.EndToken],
    };

    [Theory]
    [InlineData("9 5 7 5 9 5", "010101")] // 5 is full at the sixth, 9 would be at nobody
    [InlineData("9 5 9 5 9 5", "101010")] // 9 is full first
    [InlineData("4 4 4 4 4 4", "111000")] // exactly three
    [InlineData("1 2 3 1 2 3", "111000")] // no group: the oldest
    [InlineData("1 2 3 3 2 2 3 3", "111000")] // the third of 3 is the eighth: beyond the window, as is that of 2
    [InlineData("8 8", "11")]
    [InlineData("", "")]
    public void Choose_GroupsOfThreeInAWindowOfSix_AreFullOrTheOldest(string lengths, string expected)
    {
        int[] contexts = [.. lengths.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
        if (contexts.Length == 8) contexts[5] = 9;
        var chosen = new bool[contexts.Length];
        Array.Fill(chosen, true);

        new EqualLengthDecodes(groupSize: 3, window: 6).Choose(contexts, chosen);

        Assert.Equal(expected.PadRight(contexts.Length, '0'), string.Concat(chosen.Select(flag => flag ? '1' : '0')));
    }

    [Fact]
    public void Choose_RandomLengths_ReportsWhatItGrouped()
    {
        var random = new Random(5);
        var policy = new EqualLengthDecodes(4, 12);
        Assert.Equal(0, policy.GroupingRate);
        int grouped = 0, steps = 0, waited = 0, longest = 0;
        for (int i = 0; i < 2000; i++)
        {
            int[] lengths = [.. Enumerable.Range(0, random.Next(0, 20)).Select(_ => random.Next(1, 8))];
            var chosen = new bool[lengths.Length];
            policy.Choose(lengths, chosen);
            if (lengths.Length == 0) continue;

            int[] stepping = [.. lengths.Where((_, j) => chosen[j])];
            Assert.Equal(Math.Min(4, lengths.Length), stepping.Length);
            Assert.DoesNotContain(true, chosen.Skip(12));
            bool isGroup = stepping.Length == 4 && stepping.Distinct().Count() == 1;
            if (!isGroup) Assert.True(chosen.Take(4).All(flag => flag));
            grouped += isGroup ? 1 : 0;
            steps++;
            waited = chosen[0] ? 0 : waited + 1;
            longest = Math.Max(longest, waited);
        }
        Assert.Equal((steps, (double)grouped / steps), (policy.Steps, policy.GroupingRate));
        Assert.Equal(grouped, policy.GroupedSteps);
        Assert.InRange(longest, 2, 12);
    }

    [Fact]
    public void Choose_OthersAlwaysMakeAGroup_TheOldestWaitsForAWindowOfSteps()
    {
        var policy = new EqualLengthDecodes(2, 5);
        var chosen = new bool[4];
        int[] lengths = [50, 1, 1, 1];
        List<int> stepsOfTheOldest = [];
        for (int step = 0; step < 24; step++)
        {
            policy.Choose(lengths, chosen);
            if (chosen[0]) stepsOfTheOldest.Add(step);
        }

        Assert.Equal([5, 11, 17, 23], stepsOfTheOldest);
    }

    [Theory, InlineData(1), InlineData(4)]
    public void Plan_EqualPrompts_StepInFullGroups(int maxTokensPerStep)
    {
        var policy = new EqualLengthDecodes(groupSize: 4, window: 16);
        var run = new SchedulerRun(Ample with { Decodes = policy, MaxTokensPerStep = maxTokensPerStep, EndTokenIds = [], TokenBudget = 128 });
        for (int i = 0; i < 12; i++) run.Add(new Request([i, 2, 3, 4, 5], new SamplingOptions { MaxTokens = 17 }));
        while (run.Scheduler.HasWork)
        {
            Assert.True(run.Scheduler.Counters.Steps < 1000, "The scheduler does not come to an end.");
            long grouped = policy.GroupedSteps;
            PlanRow[] decodes = [.. run.Step().Rows.ToArray().Where(row => row.Length == 1)];
            if (policy.GroupedSteps == grouped) continue;
            Assert.Equal(4, decodes.Length);
            Assert.Single(decodes.Select(row => row.Start).Distinct());
        }
        Assert.InRange(policy.GroupingRate, 0.8, 1);
    }

    [Theory, InlineData(1), InlineData(4)]
    public void Generate_EqualLengthDecodes_GivesTheSameTokensInOrder(int maxTokensPerStep)
    {
        var policy = new EqualLengthDecodes(groupSize: 3, window: 7);
        using Engine engine = TestEngines.Create(TestEngines.Options with { Decodes = policy, MaxTokensPerStep = maxTokensPerStep });
        Request[] requests =
        [
            .. Enumerable.Range(0, 40).Select(i => new Request(
                [1, 2, i, .. Enumerable.Range(0, i % 5)], new SamplingOptions { MaxTokens = 1 + i * 7 % 30, N = 1 + i % 2, Temperature = i % 3 })),
        ];

        IReadOnlyList<Completion> completions = engine.Generate(requests);

        Assert.Equal(
            requests.SelectMany(request => Enumerable.Repeat(request, request.Sampling.N)), completions.Select(completion => completion.Request));
        foreach (Completion completion in completions)
            Assert.Equal(HashRunner.Expected(completion.Request, completion.SampleIndex, TestEngines.ContextLength), completion.TokenIds);
        Assert.InRange(policy.GroupedSteps, 1, policy.Steps - 1); // both ways were taken
    }

    [Fact]
    public void Constructor_NumberOutOfRange_ThrowsNamingIt()
    {
        Assert.Equal("groupSize", Assert.Throws<ArgumentException>(() => new EqualLengthDecodes(0, 4)).ParamName);
        Assert.Equal("window", Assert.Throws<ArgumentException>(() => new EqualLengthDecodes(4, 4)).ParamName);
    }
}
