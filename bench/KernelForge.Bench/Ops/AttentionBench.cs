using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>Sequences that each add Queries tokens to Context cached ones; keys and values are F32 in blocks of 16, as the engine keeps them.</summary>
public sealed record AttentionShape(int Sequences, int Queries, int Context, int QueryHeads, int KvHeads, int HeadDim)
{
    public override string ToString() => $"{Sequences}x{Queries} after {Context}, {QueryHeads}/{KvHeads} heads of {HeadDim}";

    /// <summary>Keys that all query tokens of a sequence see together.</summary>
    public double VisibleKeys => (double)Queries * Context + (double)Queries * (Queries + 1) / 2;
}

public class AttentionBench : OperatorBench
{
    private const int BlockSize = 16;

    private DeviceMatrix _queries, _result;
    private KvLayer _cache;
    private AttentionPlan _plan;

    // Decode of 8 and 32 sequences, a prefill; heads of an 8B model, then of the demo model.
    public static IEnumerable<AttentionShape> Shapes =>
        from heads in ((int Query, int Kv, int Dim)[])[(32, 8, 128), (8, 2, 32)]
        from step in ((int Sequences, int Queries, int Context)[])[(8, 1, 1023), (32, 1, 1023), (1, 512, 0)]
        select new AttentionShape(step.Sequences, step.Queries, step.Context, heads.Query, heads.Kv, heads.Dim);

    [ParamsSource(nameof(Shapes))]
    public AttentionShape Shape { get; set; } = new(1, 1, 0, 1, 1, 16);

    public override double Flops => 4.0 * Shape.Sequences * Shape.QueryHeads * Shape.HeadDim * Shape.VisibleKeys;

    public override double Bytes => sizeof(float) * 2.0 * Shape.Sequences * Shape.HeadDim *
        ((double)Shape.KvHeads * (Shape.Context + Shape.Queries) + (double)Shape.QueryHeads * Shape.Queries);

    private float Scale => 1 / MathF.Sqrt(Shape.HeadDim);

    [Benchmark]
    public void Attention() => Device.Operators.Attention(_queries, _cache, _plan, Scale, _result);

    /// <summary>What one writes first: all scores of a query, their softmax, the weighted sum of the values; a thread takes some of the queries.</summary>
    [Benchmark(Baseline = true)]
    public void ScoreRows()
    {
        var work = new Rows(this);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate()
    {
        int tokens = Shape.Sequences * Shape.Queries, blocks = (Shape.Context + Shape.Queries + BlockSize - 1) / BlockSize;
        var format = new KvFormat(BlockSize, Shape.KvHeads, Shape.HeadDim, DType.F32);
        _queries = Random(DType.F32, tokens, Shape.QueryHeads * Shape.HeadDim);
        _result = Random(DType.F32, tokens, Shape.QueryHeads * Shape.HeadDim);
        _cache = new KvLayer(Random(DType.F32, Shape.Sequences * blocks * format.RowsPerBlock, Shape.HeadDim), format);

        int[] table = [.. Enumerable.Range(0, Shape.Sequences * blocks)];
        new Random(2).Shuffle(table);
        _plan = new AttentionPlan(
            Span([.. Enumerable.Range(0, Shape.Sequences + 1).Select(s => s * Shape.Queries)]),
            Span([.. Enumerable.Repeat(Shape.Context, Shape.Sequences)]),
            Span([.. Enumerable.Range(0, Shape.Sequences + 1).Select(s => s * blocks)]),
            Span(table));
    }

    private readonly struct Rows(AttentionBench bench) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            AttentionShape shape = bench.Shape;
            int count = shape.Sequences * shape.Queries * shape.QueryHeads;
            var scores = new float[shape.Context + shape.Queries];
            for (int i = count * part / parts; i < count * (part + 1) / parts; i++)
                Attend(i / shape.QueryHeads, i % shape.QueryHeads, scores.AsSpan(0, shape.Context + 1 + i / shape.QueryHeads % shape.Queries));
        }

        private void Attend(int token, int head, Span<float> scores)
        {
            KvLayer cache = bench._cache;
            int headDim = cache.Format.HeadDim, kvHead = head * cache.Format.KvHeads / bench.Shape.QueryHeads, sequence = token / bench.Shape.Queries;
            ReadOnlySpan<int> blocks = bench._plan.BlockTables.OnCpu[bench._plan.BlockOffsets.OnCpu[sequence]..];
            ReadOnlySpan<float> query = bench._queries.Row<float>(token).Slice(head * headDim, headDim);
            Span<float> result = bench._result.Row<float>(token).Slice(head * headDim, headDim);
            for (int p = 0; p < scores.Length; p++)
                scores[p] = PlainLoops.Dot(query, cache.Data.Row<float>(cache.KeyRow(blocks[p / BlockSize], kvHead) + p % BlockSize)) * bench.Scale;
            float sum = PlainLoops.Exponentials(scores, temperature: 1);
            result.Clear();
            for (int p = 0; p < scores.Length; p++)
                PlainLoops.AddScaled(cache.Data.Row<float>(cache.ValueRow(blocks[p / BlockSize], kvHead) + p % BlockSize), scores[p] / sum, result);
        }
    }
}
