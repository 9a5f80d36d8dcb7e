using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>512 rows of 2,048 F32 numbers: 16 heads of 128 where heads count.</summary>
public class RowOperatorsBench : CpuOperatorBench
{
    private const int Rows = 512, Columns = 2048, HeadDim = RowOperands.HeadDim, Heads = Columns / HeadDim, BlockSize = RowOperands.BlockSize;

    private RowOperands _operands = null!;

    [ParamsAllValues]
    public RowOperator Operator { get; set; }

    public override double Flops => (double)Rows * Columns * Operator switch
    {
        RowOperator.RmsNorm => 4,
        RowOperator.Rope => 3,
        RowOperator.SiluMul => 4, // an exponential counted as one
        _ => 0,
    };

    public override double Bytes => sizeof(float) * (double)Rows * Columns * RowOperands.Touched(Operator);

    [Benchmark]
    public void Run() => _operands.Run(Device.Operators, Operator);

    /// <summary>A loop over the elements of each row, over the same threads.</summary>
    [Benchmark(Baseline = true)]
    public void ElementLoop()
    {
        var work = new Loops(this);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate() => _operands = new RowOperands(Operands, DType.F32, Rows, Columns);

    private readonly struct Loops(RowOperatorsBench bench) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            for (int row = Rows * part / parts; row < Rows * (part + 1) / parts; row++)
            {
                Span<float> x = bench._operands.X.Row<float>(row), y = bench._operands.Y.Row<float>(row), result = bench._operands.Result.Row<float>(row);
                int position = bench._operands.Positions.OnCpu[row];
                switch (bench.Operator)
                {
                    case RowOperator.RmsNorm: Normalise(x, bench._operands.Weight.Row<float>(0), result); break;
                    case RowOperator.Rope: Rotate(x, bench._operands.Angles.Row<float>(position)); break;
                    case RowOperator.SiluMul: Gate(x, y, result); break;
                    case RowOperator.Embed: bench._operands.Y.Row<float>(position).CopyTo(result); break;
                    default: Append(x, y, position); break;
                }
            }
        }

        private static void Normalise(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, Span<float> result)
        {
            float squares = 0;
            foreach (float value in x) squares += value * value;
            float factor = 1 / MathF.Sqrt(squares / x.Length + 1e-5f);
            for (int i = 0; i < x.Length; i++) result[i] = x[i] * factor * weight[i];
        }

        private static void Rotate(Span<float> x, ReadOnlySpan<float> angles)
        {
            for (int start = 0; start < x.Length; start += HeadDim)
                for (int i = 0; i < HeadDim / 2; i++)
                {
                    float a = x[start + i], b = x[start + i + HeadDim / 2], cos = angles[i], sin = angles[i + HeadDim / 2];
                    (x[start + i], x[start + i + HeadDim / 2]) = (a * cos - b * sin, b * cos + a * sin);
                }
        }

        private static void Gate(ReadOnlySpan<float> gate, ReadOnlySpan<float> up, Span<float> result)
        {
            for (int i = 0; i < gate.Length; i++) result[i] = gate[i] / (1 + MathF.Exp(-gate[i])) * up[i];
        }

        private void Append(ReadOnlySpan<float> keys, ReadOnlySpan<float> values, int slot)
        {
            KvLayer cache = bench._operands.Cache;
            (int block, int offset) = Math.DivRem(slot, BlockSize);
            for (int head = 0; head < Heads; head++)
            {
                keys.Slice(head * HeadDim, HeadDim).CopyTo(cache.Data.Row<float>(cache.KeyRow(block, head) + offset));
                values.Slice(head * HeadDim, HeadDim).CopyTo(cache.Data.Row<float>(cache.ValueRow(block, head) + offset));
            }
        }
    }
}
