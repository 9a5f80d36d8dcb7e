using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>One token for each of some rows of 151,936 logits, at temperature 0.8 unless greedy.</summary>
public class CudaSampleBench : CudaOperatorBench
{
    private SampleOperands _operands = null!;

    [ParamsAllValues]
    public Draw Draw { get; set; }

    [Params(4, 64)]
    public int Rows { get; set; }

    /// <summary>Arithmetic is not counted: what the operator must do is read the logits.</summary>
    public override double Flops => 0;

    public override double Bytes => sizeof(float) * (double)Rows * SampleOperands.Vocabulary;

    [Benchmark]
    public void Sample() => _operands.Sample(Device.Operators);

    protected override void Allocate() => _operands = new SampleOperands(Operands, Rows, Draw);
}
