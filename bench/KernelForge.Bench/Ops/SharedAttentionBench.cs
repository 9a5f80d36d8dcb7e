using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>A decode step of sequences that share prefixes, with a plan and, as the baseline, without: every sequence then reads all its keys and values.</summary>
public class SharedAttentionBench : CpuOperatorBench
{
    private SharedAttentionOperands _operands = null!;

    // One prefix of all; a system prompt and four groups; suffixes of very different lengths.
    public static IEnumerable<SharedAttentionShape> Shapes =>
    [
        new(0, 1, 2048, 32, 64, 8, 4, 128),
        new(0, 1, 4096, 32, 64, 8, 4, 128),
        new(0, 1, 2048, 32, 64, 8, 4, 64),
        new(0, 1, 4096, 32, 64, 8, 4, 64),
        new(1024, 4, 1024, 8, 64, 8, 4, 128),
        new(0, 1, 2048, 32, 0, 8, 4, 128),
    ];

    [ParamsSource(nameof(Shapes))]
    public SharedAttentionShape Shape { get; set; } = new(0, 1, 16, 1, 1, 1, 1, 16);

    [Params(DType.BF16, DType.F32)]
    public DType Cache { get; set; }

    public override double Flops => Shape.Flops;

    public override double Bytes => Shape.KvElements * (Cache == DType.F32 ? sizeof(float) : sizeof(float) / 2);

    [Benchmark]
    public void Shared() => _operands.AttendShared(Device.Operators);

    [Benchmark(Baseline = true)]
    public void Unshared() => _operands.AttendUnplanned(Device.Operators);

    protected override void Allocate() => _operands = new SharedAttentionOperands(Operands, Device.Operators, Shape, Cache, DType.F32);
}
