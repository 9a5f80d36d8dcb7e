using BenchmarkDotNet.Attributes;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>
/// A whole job, not simulated: the demo model answers 2,000 requests in shuffled order, twenty behind each of 100 prefixes, with room for the KV of a third of
/// the prefixes. The tokens are made up; what is measured is who computes what when.
/// </summary>
[InvocationCount(1), WarmupCount(1), IterationCount(5)]
public class PrefixJobBench
{
    private const int Groups = 100, PerGroup = 20, Prefix = 256, Own = 32, Outputs = 8;
    private const int KvBlocks = Groups * Prefix / 16 / 3;

    private readonly Request[] _requests = new Request[Groups * PerGroup];
    private Device _device = null!;
    private Engine _engine = null!;

    public static IEnumerable<string> Policies => ["kernelforge", "fcfs-lru", "fcfs-sorted"];

    [ParamsSource(nameof(Policies))]
    public string Policy { get; set; } = "kernelforge";

    /// <summary>What the scheduler had done at the end of the last run under a policy.</summary>
    internal static Dictionary<string, SchedulerCounters> Counters { get; } = [];

    [GlobalSetup]
    public void Open()
    {
        _device = Device.OpenCpu();
        var random = new Random(7);
        var sampling = new SamplingOptions { MaxTokens = Outputs, IgnoreEndToken = true };
        int[][] prefixes = [.. Enumerable.Range(0, Groups).Select(_ => Tokens(random, Prefix))];
        for (int i = 0; i < _requests.Length; i++) _requests[i] = new Request([.. prefixes[i % Groups], .. Tokens(random, Own)], sampling);
        random.Shuffle(_requests);
    }

    [GlobalCleanup]
    public void Close() => _device.Dispose();

    [IterationSetup]
    public void Load()
    {
        _engine = Engine.Load(TicketsDemo.Model, new EngineOptions { KvBlocks = KvBlocks }, _device);
        _engine.Use(ServingPolicy.Named(Policy), _requests);
    }

    [IterationCleanup]
    public void Unload() => _engine.Dispose();

    [Benchmark]
    public int Answer()
    {
        int answers = _engine.Generate(_requests).Count;
        Counters[Policy] = _engine.Counters;
        return answers;
    }

    private static int[] Tokens(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(100, 500))];
}
