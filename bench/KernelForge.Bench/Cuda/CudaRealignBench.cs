using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>The end of a speculative round of an 8B model in BF16: keys and values of all layers in one launch.</summary>
public class CudaRealignBench : CudaOperatorBench
{
    private RealignOperands _operands = null!;

    public static IEnumerable<RealignShape> Shapes =>
    [
        new(RealignLayout.Paged, 256, 2, 32, 8, 128),
        new(RealignLayout.Paged, 64, 1, 32, 8, 128),
        new(RealignLayout.Padded, 16, 1024, 32, 8, 128),
        new(RealignLayout.Padded, 64, 2048, 32, 8, 128),
        new(RealignLayout.Paged, 4, 2, 2, 2, 64),
        new(RealignLayout.Padded, 6, 16, 2, 2, 64),
    ];

    [ParamsSource(nameof(Shapes))]
    public RealignShape Shape { get; set; } = new(RealignLayout.Paged, 1, 1, 1, 1, 1);

    public override double Flops => 0;

    public override double Bytes => DType.BF16.Size() * Shape.Elements;

    [Benchmark]
    public void Realign() => _operands.Run(Device.Operators);

    protected override void Allocate() => _operands = new RealignOperands(Operands, Shape, DType.BF16);
}
