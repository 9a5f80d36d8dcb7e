using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>One token for each of some rows of 151,936 logits, at temperature 0.8 unless greedy. The logits are about normal, with a few likely tokens.</summary>
public class CudaSampleBench : CudaOperatorBench
{
    private const int Vocabulary = 151_936;

    private DeviceMatrix _logits;
    private DeviceSpan<SamplingRow> _rows;
    private DeviceSpan<int> _tokens;

    [ParamsAllValues]
    public Draw Draw { get; set; }

    [Params(4, 64)]
    public int Rows { get; set; }

    /// <summary>Arithmetic is not counted: what the operator must do is read the logits.</summary>
    public override double Flops => 0;

    public override double Bytes => sizeof(float) * (double)Rows * Vocabulary;

    [Benchmark]
    public void Sample()
    {
        if (Draw == Draw.Greedy) Device.Operators.ArgMax(_logits, _tokens);
        else Device.Operators.Sample(_logits, _rows, _tokens);
    }

    protected override void Allocate()
    {
        var random = new Random(4);
        float Next() => random.Next(Vocabulary) < 20
            ? 10 + 5 * random.NextSingle()
            : 2 * (random.NextSingle() + random.NextSingle() + random.NextSingle() + random.NextSingle() - 2);
        _logits = Operands.Matrix(DType.F32, Rows, Vocabulary, Next);
        (int topK, float topP) = (Draw == Draw.TopK50 ? 50 : 0, Draw == Draw.TopP95 ? 0.95f : 1);
        _rows = Operands.Span([.. Enumerable.Range(0, Rows).Select(row => new SamplingRow((ulong)row, 100, 0.8f, topK, topP, 0))]);
        _tokens = Operands.Span(new int[Rows]);
    }
}
