using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// A matrix in the middle of a buffer whose other bytes, in front, behind and between the rows, are NaN in every float type. Reading them shows in the result,
/// writing them in <see cref="AssertUntouchedAround"/>. Elements that were not set are NaN too.
/// </summary>
public sealed class GuardedMatrix : IDisposable
{
    private const int GuardBytes = 128;
    private const sbyte Guard = -1;

    private readonly DeviceBuffer _buffer;

    public GuardedMatrix(Device device, DType type, int rows, int columns, int gap = 0)
    {
        _buffer = device.Allocate(DType.I8, 2 * GuardBytes + (long)rows * (columns + gap) * type.Size());
        Bytes.Fill(Guard);
        Matrix = new DeviceMatrix(_buffer, GuardBytes, rows, columns, columns + gap, type);
    }

    public GuardedMatrix(Device device, DType type, int rows, int columns, ReadOnlySpan<float> values, int gap = 0)
        : this(device, type, rows, columns, gap) => Set(values);

    public DeviceMatrix Matrix { get; }

    private Span<sbyte> Bytes => _buffer.AsSpan<sbyte>().OnCpu;

    public static implicit operator DeviceMatrix(GuardedMatrix matrix) => matrix.Matrix;

    /// <summary>Rounds to the element type and stores, row after row.</summary>
    public void Set(ReadOnlySpan<float> values)
    {
        for (int row = 0; row < Matrix.Rows; row++)
            for (int column = 0; column < Matrix.Columns; column++)
                Write(row, column, values[row * Matrix.Columns + column]);
    }

    /// <summary>The elements, widened exactly, row after row.</summary>
    public float[] Get()
    {
        var values = new float[Matrix.Rows * Matrix.Columns];
        for (int i = 0; i < values.Length; i++) values[i] = Read(i / Matrix.Columns, i % Matrix.Columns);
        return values;
    }

    /// <summary>One row of <see cref="Get"/>.</summary>
    public float[] GetRow(int row) => [.. Enumerable.Range(0, Matrix.Columns).Select(column => Read(row, column))];

    public void AssertUntouchedAround()
    {
        int rowBytes = Matrix.Columns * Matrix.DType.Size(), strideBytes = Matrix.RowStride * Matrix.DType.Size();
        Span<sbyte> bytes = Bytes;
        for (int i = 0; i < bytes.Length; i++)
        {
            int inside = i - GuardBytes;
            bool isElement = inside >= 0 && inside < Matrix.Rows * strideBytes && inside % strideBytes < rowBytes;
            if (!isElement && bytes[i] != Guard) Assert.Fail($"byte {inside} relative to {Matrix} with row stride {Matrix.RowStride} was written");
        }
    }

    public void Dispose() => _buffer.Dispose();

    private Span<sbyte> Element(int row, int column) =>
        Bytes[(GuardBytes + (row * Matrix.RowStride + column) * Matrix.DType.Size())..];

    private void Write(int row, int column, float value)
    {
        Span<byte> element = MemoryMarshal.AsBytes(Element(row, column));
        if (Matrix.DType == DType.F32) MemoryMarshal.Write(element, value);
        else if (Matrix.DType == DType.F16) MemoryMarshal.Write(element, (Half)value);
        else MemoryMarshal.Write(element, (BFloat16)value);
    }

    private float Read(int row, int column)
    {
        ReadOnlySpan<byte> element = MemoryMarshal.AsBytes(Element(row, column));
        return Matrix.DType == DType.F32 ? MemoryMarshal.Read<float>(element)
            : Matrix.DType == DType.F16 ? (float)MemoryMarshal.Read<Half>(element)
            : MemoryMarshal.Read<BFloat16>(element);
    }
}
