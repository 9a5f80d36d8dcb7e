using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>
/// A decode step of sequences that share prefixes, all kernels of its plan, with the heads of an 8B model; and the same step when each sequence reads all its
/// keys and values. The roofline is that of the shared step: shared keys and values once, tensor cores.
/// </summary>
public class CudaSharedAttentionBench : CudaOperatorBench
{
    private SharedAttentionOperands _operands = null!;

    // One prefix and suffixes of 128; then a two-level tree, and suffixes of 32 to 2,048.
    public static IEnumerable<SharedAttentionShape> Shapes =>
    [
        .. from step in ((int Prefix, int Sequences)[])[(1024, 16), (1024, 256), (4096, 1), (4096, 16), (4096, 64), (4096, 256), (4096, 1024), (16384, 16), (16384, 256)]
           select new SharedAttentionShape(0, 1, step.Prefix, step.Sequences, 128, 8, 4, 128),
        new(0, 1, 4096, 256, 512, 8, 4, 128),
        new(1024, 16, 2048, 16, 128, 8, 4, 128),
        new(0, 1, 4096, 256, 0, 8, 4, 128),
    ];

    [ParamsSource(nameof(Shapes))]
    public SharedAttentionShape Shape { get; set; } = new(0, 1, 16, 1, 1, 1, 1, 16);

    public override double Flops => Shape.Flops;

    public override double Bytes => DType.BF16.Size() * Shape.KvElements;

    [Benchmark]
    public void Shared() => _operands.AttendShared(Device.Operators);

    [Benchmark]
    public void Unshared() => _operands.AttendApart(Device.Operators);

    protected override void Allocate() => _operands = new SharedAttentionOperands(Operands, Device.Operators, Shape, DType.BF16, DType.BF16);
}
