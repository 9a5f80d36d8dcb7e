using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

public class AttentionBench : CpuOperatorBench
{
    private const int BlockSize = AttentionOperands.BlockSize;

    private AttentionOperands _operands = null!;

    // Decode of 8 and 32 sequences, a prefill; heads of an 8B model, then of the demo model.
    public static IEnumerable<AttentionShape> Shapes =>
        from heads in ((int Query, int Kv, int Dim)[])[(32, 8, 128), (8, 2, 32)]
        from step in ((int Sequences, int Queries, int Context)[])[(8, 1, 1023), (32, 1, 1023), (1, 512, 0)]
        select new AttentionShape(step.Sequences, step.Queries, step.Context, heads.Query, heads.Kv, heads.Dim);

    [ParamsSource(nameof(Shapes))]
    public AttentionShape Shape { get; set; } = new(1, 1, 0, 1, 1, 16);

    public override double Flops => Shape.Flops;

    public override double Bytes => sizeof(float) * Shape.Elements;

    [Benchmark]
    public void Attention() => _operands.Attend(Device.Operators);

    /// <summary>What one writes first: all scores of a query, their softmax, the weighted sum of the values; a thread takes some of the queries.</summary>
    [Benchmark(Baseline = true)]
    public void ScoreRows()
    {
        var work = new Rows(this);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate() => _operands = new AttentionOperands(Operands, Device.Operators, Shape, DType.F32);

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
            KvLayer cache = bench._operands.Cache;
            int headDim = cache.Format.HeadDim, kvHead = head * cache.Format.KvHeads / bench.Shape.QueryHeads, sequence = token / bench.Shape.Queries;
            ReadOnlySpan<int> blocks = bench._operands.Batch.BlockTables.OnCpu[bench._operands.Batch.BlockOffsets.OnCpu[sequence]..];
            ReadOnlySpan<float> query = bench._operands.Queries.Row<float>(token).Slice(head * headDim, headDim);
            Span<float> result = bench._operands.Result.Row<float>(token).Slice(head * headDim, headDim);
            for (int p = 0; p < scores.Length; p++)
                scores[p] = PlainLoops.Dot(query, cache.Data.Row<float>(cache.KeyRow(blocks[p / BlockSize], kvHead) + p % BlockSize)) * bench._operands.Scale;
            float sum = PlainLoops.Exponentials(scores, temperature: 1);
            result.Clear();
            for (int p = 0; p < scores.Length; p++)
                PlainLoops.AddScaled(cache.Data.Row<float>(cache.ValueRow(blocks[p / BlockSize], kvHead) + p % BlockSize), scores[p] / sum, result);
        }
    }
}
