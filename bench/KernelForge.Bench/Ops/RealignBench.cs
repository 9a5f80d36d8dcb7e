using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>The end of a speculative round in F32. The baseline copies as many bytes in one piece for each thread.</summary>
public class RealignBench : CpuOperatorBench
{
    private RealignOperands _operands = null!;
    private DeviceMatrix _source, _destination;

    public static IEnumerable<RealignShape> Shapes =>
    [
        new(RealignLayout.Paged, 32, 2, 3, 2, 32), // the demo model
        new(RealignLayout.Paged, 32, 4, 12, 12, 64),
        new(RealignLayout.Padded, 16, 256, 3, 2, 32),
        new(RealignLayout.Padded, 8, 512, 12, 12, 64),
    ];

    [ParamsSource(nameof(Shapes))]
    public RealignShape Shape { get; set; } = new(RealignLayout.Paged, 1, 1, 1, 1, 1);

    public override double Flops => 0;

    public override double Bytes => sizeof(float) * Shape.Elements;

    [Benchmark]
    public void Realign() => _operands.Run(Device.Operators);

    [Benchmark(Baseline = true)]
    public void PlainCopy()
    {
        var work = new Copies(_source, _destination);
        BaselineThreads.Run(ref work, Threads);
    }

    protected override void Allocate()
    {
        const int columns = 32;
        int rows = checked((int)(Shape.Elements / 2 / columns));
        _operands = new RealignOperands(Operands, Shape, DType.F32);
        (_source, _destination) = (Operands.Zero(DType.F32, rows, columns), Operands.Zero(DType.F32, rows, columns));
    }

    private readonly struct Copies(DeviceMatrix source, DeviceMatrix destination) : IParallelWork
    {
        public unsafe void Run(int part, int parts)
        {
            int start = (int)((long)source.Rows * part / parts), end = (int)((long)source.Rows * (part + 1) / parts);
            long bytes = (end - start) * (long)source.Columns * sizeof(float);
            Buffer.MemoryCopy((void*)source.RowAddress(start), (void*)destination.RowAddress(start), bytes, bytes);
        }
    }
}
