using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>Query tokens over a dense prefix, with the heads of an 8B model.</summary>
public sealed record PrefixAttentionShape(int Tokens, int Prefix, int QueryHeads, int KvHeads, int HeadDim)
{
    public override string ToString() => $"{Tokens} tokens over {Prefix}, {QueryHeads}/{KvHeads} heads of {HeadDim}";

    public double Flops => 4.0 * Tokens * QueryHeads * HeadDim * Prefix;

    /// <summary>Of keys, values, queries and result.</summary>
    public double Elements => 2.0 * HeadDim * ((double)KvHeads * Prefix + (double)QueryHeads * Tokens);
}

/// <summary>The kernel of wide items alone.</summary>
public class CudaPrefixAttentionBench : CudaOperatorBench
{
    private DeviceMatrix _queries, _keys, _values;
    private AttentionState _result;

    public static IEnumerable<PrefixAttentionShape> Shapes =>
        from prefix in (int[])[1024, 4096, 16384]
        from tokens in (int[])[64, 256, 1024]
        select new PrefixAttentionShape(tokens, prefix, 32, 8, 128);

    [ParamsSource(nameof(Shapes))]
    public PrefixAttentionShape Shape { get; set; } = new(1, 1, 1, 1, 16);

    public override double Flops => Shape.Flops;

    public override double Bytes => DType.BF16.Size() * Shape.Elements;

    [Benchmark]
    public void PrefixAttention() => Device.Operators.PrefixAttention(_queries, _keys, _values, Shape.KvHeads, 1 / MathF.Sqrt(Shape.HeadDim), _result);

    protected override void Allocate()
    {
        int columns = Shape.QueryHeads * Shape.HeadDim, kvColumns = Shape.KvHeads * Shape.HeadDim;
        _queries = Operands.Random(DType.BF16, Shape.Tokens, columns);
        _keys = Operands.Random(DType.BF16, Shape.Prefix, kvColumns);
        _values = Operands.Random(DType.BF16, Shape.Prefix, kvColumns);
        _result = new AttentionState(Operands.Random(DType.BF16, Shape.Tokens, columns), Operands.Random(DType.F32, Shape.Tokens, Shape.QueryHeads));
    }
}
