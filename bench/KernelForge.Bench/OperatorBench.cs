using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>
/// A benchmark of one operator call on a CPU device with one thread and with one per core. A derived class says what the call costs at least; the columns make rates of it.
/// </summary>
public abstract class OperatorBench
{
    private readonly List<DeviceBuffer> _buffers = [];
    private readonly Random _random = new(1);

    public static IEnumerable<int> ThreadCounts => new[] { 1, Environment.ProcessorCount }.Distinct();

    [ParamsSource(nameof(ThreadCounts), Priority = 1)]
    public int Threads { get; set; }

    /// <summary>Floating-point operations of a call; a multiply-add is two.</summary>
    public abstract double Flops { get; }

    /// <summary>Bytes that a call has to read or write when every operand is touched once.</summary>
    public abstract double Bytes { get; }

    protected Device Device { get; private set; } = Device.Cpu;

    /// <summary>As many threads as the device has, for a baseline.</summary>
    private protected CpuThreads BaselineThreads { get; private set; } = null!;

    [GlobalSetup]
    public void Open()
    {
        Ceilings.Measure(Threads);
        Device = Device.OpenCpu(new CpuDeviceOptions { Threads = Threads });
        BaselineThreads = new CpuThreads(Threads);
        Allocate();
    }

    [GlobalCleanup]
    public void Close()
    {
        _buffers.ForEach(buffer => buffer.Dispose());
        _buffers.Clear();
        BaselineThreads.Dispose();
        Device.Dispose();
    }

    /// <summary>Makes the operands, on <see cref="Device"/>.</summary>
    protected abstract void Allocate();

    /// <summary>Device memory with these elements.</summary>
    protected unsafe DeviceSpan<T> Span<T>(T[] elements) where T : unmanaged
    {
        DeviceBuffer buffer = Device.Allocate(DType.I8, (long)elements.Length * sizeof(T));
        _buffers.Add(buffer);
        var span = new DeviceSpan<T>(buffer, 0, elements.Length);
        span.CopyFrom(elements);
        return span;
    }

    /// <summary>A matrix with elements between -1 and 1.</summary>
    protected DeviceMatrix Random(DType type, int rows, int columns)
    {
        DeviceBuffer buffer = Device.Allocate(type, (long)rows * columns);
        _buffers.Add(buffer);
        DeviceMatrix matrix = buffer.AsMatrix(rows, columns);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < columns; column++)
            {
                float value = 2 * _random.NextSingle() - 1;
                if (type == DType.F32) matrix.Row<float>(row)[column] = value;
                else if (type == DType.F16) matrix.Row<Half>(row)[column] = (Half)value;
                else matrix.Row<BFloat16>(row)[column] = (BFloat16)value;
            }
        return matrix;
    }
}
