using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>How the tokens of a step are drawn.</summary>
public enum Draw
{
    Greedy,
    Plain,
    TopK50,
    TopP95,
}

/// <summary>One token for each of four rows of 151,936 logits, at temperature 0.8 unless greedy. The logits are about normal, with a few likely tokens.</summary>
public class SampleBench : CpuOperatorBench
{
    private const int Rows = 4, Vocabulary = 151_936;
    private const float Temperature = 0.8f;

    private DeviceMatrix _logits;
    private DeviceSpan<SamplingRow> _rows;
    private DeviceSpan<int> _tokens;

    [ParamsAllValues]
    public Draw Draw { get; set; }

    /// <summary>Arithmetic is not counted: what the operator must do is read the logits.</summary>
    public override double Flops => 0;

    public override double Bytes => sizeof(float) * (double)Rows * Vocabulary;

    [Benchmark]
    public void Sample()
    {
        if (Draw == Draw.Greedy) Device.Operators.ArgMax(_logits, _tokens);
        else Device.Operators.Sample(_logits, _rows, _tokens);
    }

    /// <summary>What one writes first: exponentials of the row, sorted where a filter asks for it, and a draw from their sums.</summary>
    [Benchmark(Baseline = true)]
    public void SortAndDraw()
    {
        var work = new Draws(this);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate()
    {
        _logits = Operands.Random(DType.F32, Rows, Vocabulary);
        var random = new Random(4);
        for (int row = 0; row < Rows; row++)
        {
            Span<float> logits = _logits.Row<float>(row);
            foreach (ref float logit in logits) logit = 2 * (random.NextSingle() + random.NextSingle() + random.NextSingle() + random.NextSingle() - 2);
            for (int likely = 0; likely < 20; likely++) logits[random.Next(Vocabulary)] = 10 + 5 * random.NextSingle();
        }
        (int topK, float topP) = (Draw == Draw.TopK50 ? 50 : 0, Draw == Draw.TopP95 ? 0.95f : 1);
        _rows = Operands.Span([.. Enumerable.Range(0, Rows).Select(row => new SamplingRow((ulong)row, 100, Temperature, topK, topP, 0))]);
        _tokens = Operands.Span(new int[Rows]);
    }

    private readonly struct Draws(SampleBench bench) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            float[] weights = new float[Vocabulary];
            int[] ids = new int[Vocabulary];
            for (int row = Rows * part / parts; row < Rows * (part + 1) / parts; row++)
                bench._tokens.OnCpu[row] = bench.Draw == Draw.Greedy ? Largest(bench._logits.Row<float>(row)) : Next(row, weights, ids);
        }

        private static int Largest(ReadOnlySpan<float> logits)
        {
            int best = 0;
            for (int i = 1; i < logits.Length; i++)
                if (logits[i] > logits[best]) best = i;
            return best;
        }

        private int Next(int row, float[] weights, int[] ids)
        {
            bench._logits.Row<float>(row).CopyTo(weights);
            for (int i = 0; i < ids.Length; i++) ids[i] = i;
            float sum = PlainLoops.Exponentials(weights, Temperature);
            if (bench.Draw is Draw.TopK50 or Draw.TopP95)
            {
                Array.Sort(weights, ids, Comparer<float>.Create((a, b) => b.CompareTo(a)));
                if (bench.Draw == Draw.TopP95) sum *= 0.95f;
                else sum = weights.AsSpan(0, 50).ToArray().Sum();
            }
            float rest = sum * new Random(row).NextSingle();
            int index = 0;
            while (index < ids.Length - 1 && (rest -= weights[index]) > 0) index++;
            return ids[index];
        }
    }
}
