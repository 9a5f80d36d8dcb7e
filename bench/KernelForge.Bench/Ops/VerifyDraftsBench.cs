using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>Verification of the drafts of a step, on one thread.</summary>
public class VerifyDraftsBench : CpuOperatorBench
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

    [Benchmark(Baseline = true)]
    public int Lists() => _operands.VerifyByLists().Count;

    protected override void Allocate() => _operands = new DraftOperands(Operands, Rows, Shape);
}
