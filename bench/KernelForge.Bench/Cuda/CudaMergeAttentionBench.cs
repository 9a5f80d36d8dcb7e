using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>The merge of two attention states, 32 heads of 128 in BF16.</summary>
public class CudaMergeAttentionBench : CudaOperatorBench
{
    private const int Heads = 32, HeadDim = 128;

    private AttentionState _a, _b, _result;

    [Params(64, 1024, 8192)]
    public int Tokens { get; set; }

    public override double Flops => 3.0 * Tokens * Heads * HeadDim;

    public override double Bytes => 3.0 * Tokens * Heads * (DType.BF16.Size() * HeadDim + sizeof(float));

    [Benchmark]
    public void MergeAttention() => Device.Operators.MergeAttention(_a, _b, _result);

    protected override void Allocate()
    {
        (_a, _b, _result) = (State(), State(), State());

        AttentionState State() => new(Operands.Random(DType.BF16, Tokens, Heads * HeadDim), Operands.Random(DType.F32, Tokens, Heads));
    }
}
