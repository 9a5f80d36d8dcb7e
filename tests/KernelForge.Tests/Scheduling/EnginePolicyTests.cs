using KernelForge.Inference;

namespace KernelForge.Tests;

public class EnginePolicyTests
{
    [Fact]
    public void Use_PolicyWithLargerSizes_IsCutToThoseOfTheEngine()
    {
        int longest = 0, most = 0;
        Engine? engine = null;
        engine = TestEngines.Create(wrap: runner => new ObservedRunner(runner, _ => most = Math.Max(most, engine!.Counters.Running)));
        Request[] requests = [.. Enumerable.Range(0, 30).Select(i => TestEngines.Fixed(12, [.. Enumerable.Repeat(i, 20)]))];

        engine.Use(ServingPolicy.Named("static"), requests);
        IReadOnlyList<Completion> completions = engine.Generate(requests);

        foreach (Completion completion in completions) longest = Math.Max(longest, completion.TokenIds.Count);
        Assert.Equal((30, 12, 8), (completions.Count, longest, most)); // eight sequences are what TestEngines.Options say
        Assert.True(engine.Counters.Steps > 30 * 20 / 32, "A step had more tokens than the runner has room for.");
    }

    [Fact]
    public void Use_RequestsThatAreRefused_AreLeftOutOfThePlan()
    {
        foreach (string name in ServingPolicy.Names)
        {
            using Engine engine = TestEngines.Create();
            Request tooLong = TestEngines.Fixed(4, new int[TestEngines.ContextLength]), unknownToken = TestEngines.Fixed(4, 5000);
            Request[] requests = [tooLong, TestEngines.Fixed(3, 1, 2, 3), unknownToken, TestEngines.Fixed(3, 1, 2, 4)];

            engine.Use(ServingPolicy.Named(name), requests);

            Assert.Throws<RequestTooLongException>(() => engine.Add(tooLong));
            Assert.Equal(2, engine.Generate([requests[1], requests[3]]).Count);
        }
    }

    [Fact]
    public void Use_AfterARequest_IsRefused()
    {
        using Engine engine = TestEngines.Create();
        engine.Add(TestEngines.Fixed(1, 1));

        Assert.Contains("without requests so far", Assert.Throws<InvalidOperationException>(() => engine.Use(ServingPolicy.Named("vllm"))).Message, StringComparison.Ordinal);
    }
}
