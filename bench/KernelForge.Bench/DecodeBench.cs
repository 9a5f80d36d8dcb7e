using BenchmarkDotNet.Attributes;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>Decode steps of 32 sequences behind one prefix, whole model, with prefix groups and without. The context grows by a token a step, alike in all cases.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(4), WarmupCount(1), IterationCount(7)]
public class DecodeBench
{
    public const int Sequences = 32;

    private DecodeRun _run = null!;

    // The shape of the demo model, and of the 110 M parameters that other engines are compared on.
    public static IEnumerable<ModelShape> Shapes => [new("demo-sized", 256, 3, 8, 2, 640, 2048), ModelShape.Small];

    [ParamsSource(nameof(Shapes))]
    public ModelShape Model { get; set; } = new("", 0, 0, 0, 0, 0, 0);

    [Params(512, 2048)]
    public int Prefix { get; set; }

    [Params(false, true)]
    public bool PrefixGroups { get; set; }

    [GlobalSetup]
    public void Open() => _run = new DecodeRun(Model, null, Sequences, Prefix, ownTokens: 8, PrefixGroups);

    [GlobalCleanup]
    public void Close() => _run.Dispose();

    /// <summary>Every sequence gains a token.</summary>
    [Benchmark]
    public void Step() => _run.Step();
}
