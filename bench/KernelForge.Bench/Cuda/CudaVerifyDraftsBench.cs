using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>Verification of the drafts of a step. It moves next to nothing: what counts is the time, which should not be far above that of a launch.</summary>
public class CudaVerifyDraftsBench : CudaOperatorBench
{
    private DraftOperands _operands = null!;

    [ParamsAllValues]
    public DraftShape Shape { get; set; }

    [Params(1, 32, 1024, 4096)]
    public int Rows { get; set; }

    /// <summary>There is none.</summary>
    public override double Flops => 0;

    public override double Bytes => DraftOperands.Bytes(Rows, Shape);

    [Benchmark]
    public void VerifyDrafts() => _operands.Verify(Device.Operators);

    protected override void Allocate() => _operands = new DraftOperands(Operands, Rows, Shape);
}
