using BenchmarkDotNet.Attributes;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>
/// Planning a job of prompts of 2,000 tokens that come in any order: 16 of each prefix of 1,800 tokens, or the same below 10 common beginnings of 600. A time
/// is that of the job; managed memory is beside the prompts.
/// </summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(1), WarmupCount(1), IterationCount(5)]
public class PrefixPlanBench
{
    private const int Length = 2000, Prefix = 1800, Stem = 600, Sharers = 16, BlockSize = 16;

    private Request[] _requests = [];

    [Params(10_000, 30_000, 100_000)]
    public int Requests { get; set; }

    [Params(1, 2)]
    public int Levels { get; set; }

    [GlobalSetup]
    public void MakeRequests()
    {
        var random = new Random(1);
        int[] prompt = new int[Length];
        _requests = new Request[Requests];
        for (int i = 0; i < Requests; i++)
        {
            int group = i / Sharers;
            Fill(prompt.AsSpan(0, Prefix), new Random(1_000_000 + group));
            if (Levels == 2) Fill(prompt.AsSpan(0, Stem), new Random(group % 10));
            Fill(prompt.AsSpan(Prefix), random);
            _requests[i] = new Request(prompt, new SamplingOptions { MaxTokens = 1 + group % 200 });
        }
        random.Shuffle(_requests);
    }

    [Benchmark]
    public long Plan() => GlobalPrefixPlan.Of(_requests, BlockSize).Shared.MultiLevel;

    private static void Fill(Span<int> tokens, Random random)
    {
        foreach (ref int token in tokens) token = random.Next(32_000);
    }
}
