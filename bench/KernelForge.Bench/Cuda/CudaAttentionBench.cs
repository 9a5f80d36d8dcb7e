using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

public class CudaAttentionBench : CudaOperatorBench
{
    private AttentionOperands _operands = null!;

    // Decode of 8 and 64 sequences, a prefill and a chunk after a cached prompt, with the heads of an 8B model; decode of the demo model.
    public static IEnumerable<AttentionShape> Shapes =>
    [
        new(8, 1, 4095, 32, 8, 128),
        new(64, 1, 4095, 32, 8, 128),
        new(1, 4096, 0, 32, 8, 128),
        new(4, 512, 2048, 32, 8, 128),
        new(8, 1, 255, 8, 2, 32),
    ];

    [ParamsSource(nameof(Shapes))]
    public AttentionShape Shape { get; set; } = new(1, 1, 0, 1, 1, 16);

    public override double Flops => Shape.Flops;

    public override double Bytes => DType.BF16.Size() * Shape.Elements;

    [Benchmark]
    public void Attention() => _operands.Attend(Device.Operators);

    protected override void Allocate() => _operands = new AttentionOperands(Operands, Device.Operators, Shape, DType.BF16);
}
