namespace KernelForge.Tests;

/// <summary>
/// A matrix in the middle of a buffer whose other bytes, in front, behind and between the rows, are NaN in every float type. Reading them shows in the result,
/// writing them in <see cref="AssertUntouchedAround"/>. Elements that were not set are NaN too. Works by copies, so on any device.
/// </summary>
public sealed class GuardedMatrix : IDisposable
{
    private const int GuardBytes = 128;
    private const byte Guard = 0xFF;

    private readonly DeviceBuffer _buffer;

    public GuardedMatrix(Device device, DType type, int rows, int columns, int gap = 0)
    {
        long length = 2 * GuardBytes + (long)rows * (columns + gap) * type.Size();
        _buffer = device.Allocate(DType.I8, length);
        Matrix = new DeviceMatrix(_buffer, GuardBytes, rows, columns, columns + gap, type);
        var bytes = new byte[length];
        bytes.AsSpan().Fill(Guard);
        Memory.CopyFrom(bytes);
    }

    public GuardedMatrix(Device device, DType type, int rows, int columns, ReadOnlySpan<float> values, int gap = 0)
        : this(device, type, rows, columns, gap) => Set(values);

    public DeviceMatrix Matrix { get; }

    private DeviceSpan<byte> Memory => new(_buffer, 0, checked((int)_buffer.Length));

    private int RowBytes => Matrix.Columns * Matrix.DType.Size();

    private int StrideBytes => Matrix.RowStride * Matrix.DType.Size();

    /// <summary>All elements of a matrix without gaps. <typeparamref name="T"/> must be the element type.</summary>
    public DeviceSpan<T> Span<T>() where T : unmanaged => new(_buffer, GuardBytes, Matrix.Rows * Matrix.Columns);

    public static implicit operator DeviceMatrix(GuardedMatrix matrix) => matrix.Matrix;

    /// <summary>Rounds to the element type and stores, row after row.</summary>
    public void Set(ReadOnlySpan<float> values)
    {
        byte[] all = Memory.ToArray(), elements = Numbers.ToBytes(values, Matrix.DType);
        for (int row = 0; row < Matrix.Rows; row++) elements.AsSpan(row * RowBytes, RowBytes).CopyTo(all.AsSpan(GuardBytes + row * StrideBytes));
        Memory.CopyFrom(all);
    }

    /// <summary>The elements, widened exactly, row after row.</summary>
    public float[] Get()
    {
        byte[] all = Memory.ToArray(), elements = new byte[Matrix.Rows * RowBytes];
        for (int row = 0; row < Matrix.Rows; row++) all.AsSpan(GuardBytes + row * StrideBytes, RowBytes).CopyTo(elements.AsSpan(row * RowBytes));
        return Numbers.FromBytes(elements, Matrix.DType);
    }

    /// <summary>One row of <see cref="Get"/>.</summary>
    public float[] GetRow(int row) => Get()[(row * Matrix.Columns)..((row + 1) * Matrix.Columns)];

    public void AssertUntouchedAround()
    {
        byte[] all = Memory.ToArray();
        for (int i = 0; i < all.Length; i++)
        {
            int inside = i - GuardBytes;
            bool isElement = inside >= 0 && inside < Matrix.Rows * StrideBytes && inside % StrideBytes < RowBytes;
            if (!isElement && all[i] != Guard) Assert.Fail($"byte {inside} relative to {Matrix} with row stride {Matrix.RowStride} was written");
        }
    }

    public void Dispose() => _buffer.Dispose();
}
