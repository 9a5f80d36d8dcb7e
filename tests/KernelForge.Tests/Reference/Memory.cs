namespace KernelForge.Tests;

/// <summary>Matrices on a device for one test; freed together.</summary>
public sealed class Memory(Device device) : IDisposable
{
    private readonly List<DeviceBuffer> _buffers = [];

    /// <summary>A matrix whose every element, and <paramref name="gap"/> more behind each row, holds <paramref name="fill"/>.</summary>
    public DeviceMatrix Filled(DType type, int rows, int columns, float fill, int gap = 0)
    {
        DeviceBuffer buffer = device.Allocate(type, (long)rows * (columns + gap));
        _buffers.Add(buffer);
        DeviceMatrix whole = buffer.AsMatrix(rows, columns + gap);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < columns + gap; column++) Set(whole, row, column, fill);
        return whole.SliceColumns(0, columns);
    }

    /// <summary>Elements between -1 and 1, and the same as the type holds them. Behind each row are <paramref name="gap"/> NaNs.</summary>
    public (DeviceMatrix Matrix, float[,] Values) Random(Random random, DType type, int rows, int columns, int gap = 0)
    {
        DeviceMatrix matrix = Filled(type, rows, columns, float.NaN, gap);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < columns; column++) Set(matrix, row, column, (float)(2 * random.NextDouble() - 1));
        return (matrix, Read(matrix));
    }

    /// <summary>A matrix with the given elements, rounded to the type.</summary>
    public DeviceMatrix Copy(float[,] values, DType type)
    {
        DeviceMatrix matrix = Filled(type, values.GetLength(0), values.GetLength(1), fill: 0);
        for (int row = 0; row < matrix.Rows; row++)
            for (int column = 0; column < matrix.Columns; column++) Set(matrix, row, column, values[row, column]);
        return matrix;
    }

    public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());

    public static void Set(in DeviceMatrix matrix, int row, int column, float value)
    {
        if (matrix.DType == DType.F32) matrix.Row<float>(row)[column] = value;
        else if (matrix.DType == DType.F16) matrix.Row<Half>(row)[column] = (Half)value;
        else matrix.Row<BFloat16>(row)[column] = (BFloat16)value;
    }

    public static float[,] Read(in DeviceMatrix matrix)
    {
        var values = new float[matrix.Rows, matrix.Columns];
        for (int row = 0; row < matrix.Rows; row++)
            for (int column = 0; column < matrix.Columns; column++)
                values[row, column] = matrix.DType switch
                {
                    DType.F32 => matrix.Row<float>(row)[column],
                    DType.F16 => (float)matrix.Row<Half>(row)[column],
                    _ => matrix.Row<BFloat16>(row)[column],
                };
        return values;
    }

    public static float[] Flat(in DeviceMatrix matrix) => [.. Read(matrix).Cast<float>()];
}
