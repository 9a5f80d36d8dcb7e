using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>Decode steps of a model of 110 M parameters with BF16 and with quantised weights, each sequence after a prompt of its own. The context grows by a token a step.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(4), WarmupCount(1), IterationCount(7)]
public class QuantizedDecodeBench
{
    private const string Dense = "bf16";

    private DecodeRun _run = null!;

    [Params(Dense, "w8", "w4g128")]
    public string Weights { get; set; } = Dense;

    [Params(1, 8, 32)]
    public int Sequences { get; set; }

    [GlobalSetup]
    public void Open() =>
        _run = new DecodeRun(ModelShape.Small, Weights == Dense ? null : WeightFormat.Parse(Weights), Sequences, prefix: 0, ownTokens: 128, prefixGroups: false);

    [GlobalCleanup]
    public void Close() => _run.Dispose();

    /// <summary>Every sequence gains a token.</summary>
    [Benchmark]
    public void Step() => _run.Step();
}
