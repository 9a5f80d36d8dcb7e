namespace KernelForge;

/// <summary>
/// Memory for the intermediate results of one step: handed out in order, taken back all at once by <see cref="Reset"/>.
/// The same requests after a reset get the same addresses.
/// </summary>
public sealed class Arena : IDisposable
{
    private const int Alignment = 256;

    private readonly DeviceBuffer _buffer;
    private long _used;

    /// <param name="device">Where the memory is.</param>
    /// <param name="capacityInBytes">Most bytes in use between two resets; allocated at once.</param>
    public Arena(Device device, long capacityInBytes)
    {
        ArgumentNullException.ThrowIfNull(device);
        _buffer = device.Allocate(DType.I8, capacityInBytes);
    }

    /// <summary>Bytes handed out since the last reset.</summary>
    public long UsedBytes => _used;

    /// <summary>Bytes that can be handed out between two resets.</summary>
    public long CapacityInBytes => _buffer.SizeInBytes;

    /// <summary>A contiguous matrix, not cleared, valid until the next reset.</summary>
    /// <exception cref="InvalidOperationException">The capacity is used up.</exception>
    public DeviceMatrix Matrix(DType dtype, int rows, int columns) =>
        new(_buffer, Take((long)rows * columns * dtype.Size()), rows, columns, columns, dtype);

    /// <summary>A run of elements, not cleared, valid until the next reset.</summary>
    /// <exception cref="InvalidOperationException">The capacity is used up.</exception>
    public unsafe DeviceSpan<T> Span<T>(int length) where T : unmanaged => new(_buffer, Take((long)length * sizeof(T)), length);

    /// <summary>A copy of values of the host, valid until the next reset.</summary>
    /// <exception cref="InvalidOperationException">The capacity is used up.</exception>
    public DeviceSpan<T> Upload<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        DeviceSpan<T> span = Span<T>(values.Length);
        span.CopyFrom(values);
        return span;
    }

    /// <summary>Bytes that a request for <paramref name="bytes"/> takes, alignment included; for sizing an arena.</summary>
    public static long Rounded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    /// <summary>Takes everything back. What was handed out before must not be used any more.</summary>
    public void Reset() => _used = 0;

    /// <inheritdoc/>
    public void Dispose() => _buffer.Dispose();

    private nint Take(long bytes)
    {
        long end = _used + Rounded(bytes);
        if (end > _buffer.SizeInBytes)
            throw new InvalidOperationException($"Arena: {bytes} bytes asked, {_buffer.SizeInBytes - _used} of {_buffer.SizeInBytes} left");
        nint offset = (nint)_used;
        _used = end;
        return offset;
    }
}
