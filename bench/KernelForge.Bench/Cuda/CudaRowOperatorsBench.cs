using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>Rows of 4,096 BF16 numbers. 64 rows are a step of decodes, 4,096 a prompt.</summary>
public class CudaRowOperatorsBench : CudaOperatorBench
{
    private const int Columns = 4096;

    private RowOperands _operands = null!;

    [ParamsAllValues]
    public RowOperator Operator { get; set; }

    [Params(64, 4096)]
    public int Rows { get; set; }

    /// <summary>Arithmetic is not counted: these operators move rows.</summary>
    public override double Flops => 0;

    public override double Bytes => DType.BF16.Size() * (double)Rows * Columns * RowOperands.Touched(Operator);

    [Benchmark]
    public void Run() => _operands.Run(Device.Operators, Operator);

    protected override void Allocate() => _operands = new RowOperands(Operands, DType.BF16, Rows, Columns);
}
