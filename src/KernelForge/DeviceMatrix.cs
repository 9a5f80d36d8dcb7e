using System.Runtime.InteropServices;
using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>
/// Rows x columns of a <see cref="DeviceBuffer"/>, row-major, element type known at run time. Rows may be apart by more than
/// their length (<see cref="RowStride"/>). The default value is empty and belongs to no device.
/// </summary>
public readonly struct DeviceMatrix
{
    private readonly DeviceBuffer? _buffer;
    private readonly nint _offsetBytes;

    internal DeviceMatrix(DeviceBuffer buffer, nint offsetBytes, int rows, int columns, int rowStride, DType dtype)
    {
        _buffer = buffer;
        _offsetBytes = offsetBytes;
        Rows = rows;
        Columns = columns;
        RowStride = rowStride;
        DType = dtype;
    }

    /// <summary>Rows.</summary>
    public int Rows { get; }

    /// <summary>Elements of a row.</summary>
    public int Columns { get; }

    /// <summary>Elements from the start of a row to the start of the next.</summary>
    public int RowStride { get; }

    /// <summary>Element type.</summary>
    public DType DType { get; }

    /// <summary>The device whose memory this is; null for the default value.</summary>
    public Device? Device => _buffer?.Device;

    /// <summary>Whether there are no elements.</summary>
    public bool IsEmpty => Rows == 0 || Columns == 0;

    /// <summary>Whether the rows follow each other without a gap.</summary>
    public bool IsContiguous => RowStride == Columns || Rows <= 1;

    /// <summary>Address of the first element on the device; 0 for the default value.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was freed.</exception>
    public nint Address => _buffer is null ? 0 : _buffer.Address + _offsetBytes;

    /// <summary>Address of the first element of a row.</summary>
    public nint RowAddress(int row) => Address + (nint)row * RowStride * DType.Size();

    /// <summary>Rows start .. start + count - 1.</summary>
    public DeviceMatrix SliceRows(int start, int count)
    {
        Check.That(start >= 0 && count >= 0 && start <= Rows - count, $"SliceRows: {start}..{start + count} is outside of {Rows} rows");
        return _buffer is null ? default : new(_buffer, _offsetBytes + (nint)start * RowStride * DType.Size(), count, Columns, RowStride, DType);
    }

    /// <summary>Columns start .. start + count - 1 of every row.</summary>
    public DeviceMatrix SliceColumns(int start, int count)
    {
        Check.That(start >= 0 && count >= 0 && start <= Columns - count, $"SliceColumns: {start}..{start + count} is outside of {Columns} columns");
        return _buffer is null ? default : new(_buffer, _offsetBytes + (nint)start * DType.Size(), Rows, count, RowStride, DType);
    }

    /// <summary>The same elements with another row length; the matrix must be contiguous.</summary>
    public DeviceMatrix Reshape(int rows, int columns)
    {
        Check.That(IsContiguous && (long)rows * columns == (long)Rows * Columns, $"Reshape: {this} cannot be seen as [{rows}, {columns}]");
        return _buffer is null ? default : new(_buffer, _offsetBytes, rows, columns, columns, DType);
    }

    /// <summary>Copies a host matrix of the same shape and type to the device: an array, a part of one, or the span of a <see cref="Memory2D{T}"/>.</summary>
    public void CopyFrom<T>(ReadOnlySpan2D<T> source) where T : unmanaged
    {
        Check.That(source.Height == Rows && source.Width == Columns && DTypes.Of<T>() == DType,
            $"CopyFrom: {DTypes.Of<T>()}[{source.Height}, {source.Width}] given, {this} expected");
        for (int row = 0; row < Rows; row++)
            _buffer!.Device.CopyToDevice(MemoryMarshal.AsBytes(source.GetRowSpan(row)), RowAddress(row));
    }

    /// <summary>Copies the matrix to a host matrix of the same shape and type, waiting for work that was queued before.</summary>
    public void CopyTo<T>(Span2D<T> destination) where T : unmanaged
    {
        Check.That(destination.Height == Rows && destination.Width == Columns && DTypes.Of<T>() == DType,
            $"CopyTo: room for {DTypes.Of<T>()}[{destination.Height}, {destination.Width}] given, {this} expected");
        for (int row = 0; row < Rows; row++)
            _buffer!.Device.CopyToHost(RowAddress(row), MemoryMarshal.AsBytes(destination.GetRowSpan(row)));
    }

    /// <summary>Copies host bytes of elements, row after row, to a matrix without gaps between its rows.</summary>
    public void CopyFrom(ReadOnlySpan<byte> source)
    {
        CheckBytes("CopyFrom", source.Length);
        if (!IsEmpty) _buffer!.Device.CopyToDevice(source, Address);
    }

    /// <summary>Copies the bytes of a matrix without gaps between its rows, row after row, waiting for work that was queued before.</summary>
    public void CopyTo(Span<byte> destination)
    {
        CheckBytes("CopyTo", destination.Length);
        if (!IsEmpty) _buffer!.Device.CopyToHost(Address, destination);
    }

    /// <summary>The elements copied to a new host matrix.</summary>
    public T[,] ToArray<T>() where T : unmanaged
    {
        var result = new T[Rows, Columns];
        CopyTo<T>(result);
        return result;
    }

    /// <summary>One row's memory, on the CPU device. <typeparamref name="T"/> must be the element type.</summary>
    /// <exception cref="InvalidOperationException">The memory is on another device.</exception>
    public unsafe Span<T> Row<T>(int row) where T : unmanaged
    {
        Check.That((uint)row < (uint)Rows && DTypes.Of<T>() == DType, $"Row: row {row} as {DTypes.Of<T>()} of {this}");
        if (!_buffer!.Device.IsCpu) throw new InvalidOperationException($"the memory is on {_buffer.Device.Name}; copy it with CopyTo");
        return new Span<T>((void*)RowAddress(row), Columns);
    }

    /// <summary>Element type and shape, as in F32[3, 64].</summary>
    public override string ToString() => $"{DType}[{Rows}, {Columns}]";

    private void CheckBytes(string operation, int length) =>
        Check.That(IsContiguous && length == (long)Rows * Columns * DType.Size(), $"{operation}: {length} bytes for {this}, contiguous: {IsContiguous}");
}
