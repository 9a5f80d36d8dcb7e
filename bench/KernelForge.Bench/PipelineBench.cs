using BenchmarkDotNet.Attributes;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>The first Prompts of the demo's prompts, with at most Running of them at the same time.</summary>
public sealed record PipelineLoad(int Prompts, int Running, bool PrefixCache)
{
    public override string ToString() => $"{Prompts} prompts, {Running} running, prefix cache {(PrefixCache ? "on" : "off")}";
}

/// <summary>The demo model over the demo's prompts, tokenizer included, weights loaded before. Every iteration begins with an empty prefix cache.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(1), WarmupCount(1), IterationCount(5)]
public class PipelineBench
{
    private Device _device = null!;
    private Engine _engine = null!;

    public static IEnumerable<string> Devices => FirstCuda.WhyMissing is null ? ["cpu", "cuda"] : ["cpu"];

    // The effect of the prefix cache, on few prompts because it takes long without; then that of running more sequences in a step.
    public static IEnumerable<PipelineLoad> Loads =>
    [
        new(32, 256, PrefixCache: false), new(32, 256, PrefixCache: true),
        new(256, 1, PrefixCache: true), new(256, 32, PrefixCache: true), new(256, 256, PrefixCache: true),
    ];

    [ParamsSource(nameof(Devices), Priority = 1)]
    public string On { get; set; } = "cpu";

    [ParamsSource(nameof(Loads))]
    public PipelineLoad Load { get; set; } = new(0, 1, true);

    /// <summary>Tokens of prompts and answers that the last run of a load took in and gave out.</summary>
    internal static Dictionary<PipelineLoad, (long Prompt, long Output)> Tokens { get; } = [];

    [GlobalSetup]
    public void Open()
    {
        _device = On == "cpu" ? Device.OpenCpu() : Device.OpenCuda();
        var options = new EngineOptions { MaxSequences = Load.Running, PrefixCache = Load.PrefixCache, KvMemoryBytes = 1L << 30 };
        _engine = Engine.Load(TicketsDemo.Model, options, _device);
    }

    [GlobalCleanup]
    public void Close()
    {
        _engine.Dispose();
        _device.Dispose();
    }

    [IterationSetup]
    public void Forget() => _engine.ClearCache();

    [Benchmark]
    public void Answer()
    {
        List<Request> requests = [.. TicketsDemo.Requests(_engine).Take(Load.Prompts)];
        long outputs = _engine.Generate(requests).Sum(completion => completion.TokenIds.Count);
        Tokens[Load] = (requests.Sum(request => (long)request.PromptTokenIds.Length), outputs);
    }
}
