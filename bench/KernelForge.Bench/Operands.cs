namespace KernelForge.Bench;

/// <summary>Device memory of a benchmark, freed together.</summary>
internal sealed class Operands(Device device) : IDisposable
{
    private readonly List<DeviceBuffer> _buffers = [];
    private readonly Random _random = new(1);

    public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());

    /// <summary>Device memory with these elements.</summary>
    public unsafe DeviceSpan<T> Span<T>(T[] elements) where T : unmanaged
    {
        DeviceBuffer buffer = device.Allocate(DType.I8, (long)elements.Length * sizeof(T));
        _buffers.Add(buffer);
        var span = new DeviceSpan<T>(buffer, 0, elements.Length);
        span.CopyFrom(elements);
        return span;
    }

    /// <summary>Memory that is not set.</summary>
    public DeviceBuffer Buffer(DType type, long length)
    {
        DeviceBuffer buffer = device.Allocate(type, length);
        _buffers.Add(buffer);
        return buffer;
    }

    /// <summary>A matrix of zeros, set on the device: for more memory than the host should fill.</summary>
    public DeviceMatrix Zero(DType type, int rows, int columns)
    {
        DeviceBuffer buffer = Buffer(type, (long)rows * columns);
        var bytes = new DeviceSpan<sbyte>(buffer, 0, checked((int)((long)rows * columns * type.Size())));
        if (device is CudaDevice cuda) cuda.Stream.Clear(bytes);
        else bytes.OnCpu.Clear();
        return buffer.AsMatrix(rows, columns);
    }

    /// <summary>A matrix with elements between -1 and 1.</summary>
    public DeviceMatrix Random(DType type, int rows, int columns) => Matrix(type, rows, columns, () => 2 * _random.NextSingle() - 1);

    /// <summary>A matrix of these elements, row after row.</summary>
    public DeviceMatrix Matrix(DType type, int rows, int columns, Func<float> next)
    {
        DeviceMatrix matrix = Buffer(type, (long)rows * columns).AsMatrix(rows, columns);
        if (type == DType.F32) Fill(matrix, next);
        else if (type == DType.F16) Fill(matrix, () => (Half)next());
        else Fill(matrix, () => (BFloat16)next());
        return matrix;
    }

    private static void Fill<T>(in DeviceMatrix matrix, Func<T> next) where T : unmanaged
    {
        const int RowsAtOnce = 256; // a bounded copy on the host
        for (int first = 0; first < matrix.Rows; first += RowsAtOnce)
        {
            var part = new T[Math.Min(RowsAtOnce, matrix.Rows - first), matrix.Columns];
            for (int row = 0; row < part.GetLength(0); row++)
                for (int column = 0; column < part.GetLength(1); column++) part[row, column] = next();
            matrix.SliceRows(first, part.GetLength(0)).CopyFrom<T>(part);
        }
    }
}
