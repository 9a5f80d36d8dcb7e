namespace KernelForge.Tests;

/// <summary>Matrices on a device for one test; freed together. Works by copies, so on any device.</summary>
public sealed class Memory(Device device) : IDisposable
{
    private readonly List<DeviceBuffer> _buffers = [];

    /// <summary>A matrix whose every element, and <paramref name="gap"/> more behind each row, holds <paramref name="fill"/>.</summary>
    public DeviceMatrix Filled(DType type, int rows, int columns, float fill, int gap = 0)
    {
        var values = new float[rows * (columns + gap)];
        values.AsSpan().Fill(fill);
        return Upload(values, type, rows, columns + gap).SliceColumns(0, columns);
    }

    /// <summary>Elements between -1 and 1, and the same as the type holds them. Behind each row are <paramref name="gap"/> NaNs.</summary>
    public (DeviceMatrix Matrix, float[,] Values) Random(Random random, DType type, int rows, int columns, int gap = 0)
    {
        var values = new float[rows * (columns + gap)];
        for (int i = 0; i < values.Length; i++)
            values[i] = i % (columns + gap) < columns ? (float)(2 * random.NextDouble() - 1) : float.NaN;
        DeviceMatrix matrix = Upload(values, type, rows, columns + gap).SliceColumns(0, columns);
        return (matrix, Read(matrix));
    }

    /// <summary>A matrix with the given elements, rounded to the type.</summary>
    public DeviceMatrix Copy(float[,] values, DType type) => Upload([.. values.Cast<float>()], type, values.GetLength(0), values.GetLength(1));

    public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());

    /// <summary>Changes one element.</summary>
    public static void Set(in DeviceMatrix matrix, int row, int column, float value)
    {
        DeviceMatrix element = matrix.SliceRows(row, 1).SliceColumns(column, 1);
        if (matrix.DType == DType.F32) element.CopyFrom<float>(new[,] { { value } });
        else if (matrix.DType == DType.F16) element.CopyFrom<Half>(new[,] { { (Half)value } });
        else element.CopyFrom<BFloat16>(new[,] { { (BFloat16)value } });
    }

    /// <summary>The elements, widened exactly.</summary>
    public static float[,] Read(in DeviceMatrix matrix)
    {
        float[] flat = Flat(matrix);
        var values = new float[matrix.Rows, matrix.Columns];
        Buffer.BlockCopy(flat, 0, values, 0, flat.Length * sizeof(float));
        return values;
    }

    /// <summary>The elements, widened exactly, row after row.</summary>
    public static float[] Flat(in DeviceMatrix matrix) => matrix.DType switch
    {
        DType.F32 => [.. matrix.ToArray<float>().Cast<float>()],
        DType.F16 => [.. matrix.ToArray<Half>().Cast<Half>().Select(value => (float)value)],
        _ => [.. matrix.ToArray<BFloat16>().Cast<BFloat16>().Select(value => (float)value)],
    };

    private DeviceMatrix Upload(float[] values, DType type, int rows, int columns)
    {
        DeviceBuffer buffer = device.Allocate(type, values.Length);
        _buffers.Add(buffer);
        byte[] bytes = Numbers.ToBytes(values, type);
        new DeviceSpan<byte>(buffer, 0, bytes.Length).CopyFrom(bytes);
        return buffer.AsMatrix(rows, columns);
    }
}
