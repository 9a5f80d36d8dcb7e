using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>result[Rows, Columns] = x[Rows, K] · weights[Columns, K]ᵀ; x and the result are F32.</summary>
public sealed record MatMulShape(DType Weights, int Rows, int Columns, int K)
{
    public override string ToString() => $"{Weights} {Rows}x{Columns}x{K}";
}

public class MatMulBench : CpuOperatorBench
{
    private DeviceMatrix _x, _weights, _result;

    // Compute bound; decode of a model whose weights come from memory, one sequence and eight; the demo model's layers, from one token to a long prompt.
    public static IEnumerable<MatMulShape> Shapes =>
    [
        new(DType.F32, 1024, 1024, 1024),
        new(DType.BF16, 1, 16_384, 4096),
        new(DType.BF16, 8, 16_384, 4096),
        new(DType.BF16, 1, 1024, 256),
        new(DType.BF16, 32, 512, 256),
        new(DType.BF16, 512, 512, 256),
    ];

    [ParamsSource(nameof(Shapes))]
    public MatMulShape Shape { get; set; } = new(DType.F32, 1, 1, 1);

    public override double Flops => 2.0 * Shape.Rows * Shape.Columns * Shape.K;

    public override double Bytes =>
        (double)Shape.Columns * Shape.K * Shape.Weights.Size() + sizeof(float) * ((double)Shape.Rows * Shape.K + (double)Shape.Rows * Shape.Columns);

    [Benchmark]
    public void MatMul() => Device.Operators.MatMul(_x, _weights, _result);

    /// <summary>What one writes first: a vectorised dot product for each element, over the same threads.</summary>
    [Benchmark(Baseline = true)]
    public void DotPerElement()
    {
        var work = new DotProducts(_x, _weights, _result);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate()
    {
        _x = Operands.Random(DType.F32, Shape.Rows, Shape.K);
        _weights = Operands.Random(Shape.Weights, Shape.Columns, Shape.K);
        _result = Operands.Random(DType.F32, Shape.Rows, Shape.Columns);
    }

    private readonly struct DotProducts(DeviceMatrix x, DeviceMatrix weights, DeviceMatrix result) : IParallelWork
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run(int part, int parts)
        {
            int first = (int)((long)weights.Rows * part / parts), end = (int)((long)weights.Rows * (part + 1) / parts);
            for (int row = 0; row < x.Rows; row++)
                for (int column = first; column < end; column++)
                    result.Row<float>(row)[column] = weights.DType == DType.F32
                        ? PlainLoops.Dot(x.Row<float>(row), weights.Row<float>(column))
                        : Dot(x.Row<float>(row), weights.Row<BFloat16>(column));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private static float Dot(ReadOnlySpan<float> a, ReadOnlySpan<BFloat16> b)
        {
            ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<BFloat16, ushort>(b);
            Vector<float> sum = default;
            for (int i = 0; i <= a.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
            {
                Vector.Widen(new Vector<ushort>(bits[i..]), out Vector<uint> low, out Vector<uint> high);
                sum += new Vector<float>(a[i..]) * Vector.AsVectorSingle(low << 16);
                sum += new Vector<float>(a[(i + Vector<float>.Count)..]) * Vector.AsVectorSingle(high << 16);
            }
            return Vector.Sum(sum);
        }
    }
}
