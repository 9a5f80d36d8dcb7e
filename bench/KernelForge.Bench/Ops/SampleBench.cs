using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>One token for each of four rows of 151,936 logits, at temperature 0.8 unless greedy. The logits are about normal, with a few likely tokens.</summary>
public class SampleBench : CpuOperatorBench
{
    private const int Rows = 4, Vocabulary = SampleOperands.Vocabulary;

    private SampleOperands _operands = null!;

    [ParamsAllValues]
    public Draw Draw { get; set; }

    /// <summary>Arithmetic is not counted: what the operator must do is read the logits.</summary>
    public override double Flops => 0;

    public override double Bytes => sizeof(float) * (double)Rows * Vocabulary;

    [Benchmark]
    public void Sample() => _operands.Sample(Device.Operators);

    /// <summary>What one writes first: exponentials of the row, sorted where a filter asks for it, and a draw from their sums.</summary>
    [Benchmark(Baseline = true)]
    public void SortAndDraw()
    {
        var work = new Draws(this);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate() => _operands = new SampleOperands(Operands, Rows, Draw);

    private readonly struct Draws(SampleBench bench) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            float[] weights = new float[Vocabulary];
            int[] ids = new int[Vocabulary];
            for (int row = Rows * part / parts; row < Rows * (part + 1) / parts; row++)
                bench._operands.Tokens.OnCpu[row] = bench.Draw == Draw.Greedy ? Largest(bench._operands.Logits.Row<float>(row)) : Next(row, weights, ids);
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
            bench._operands.Logits.Row<float>(row).CopyTo(weights);
            for (int i = 0; i < ids.Length; i++) ids[i] = i;
            float sum = PlainLoops.Exponentials(weights, SampleOperands.Temperature);
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
