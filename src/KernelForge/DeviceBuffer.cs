namespace KernelForge;

/// <summary>
/// Owns a run of device memory. Views (<see cref="DeviceSpan{T}"/>, <see cref="DeviceMatrix"/>) stay valid until the buffer is disposed
/// and say so when they are used later. Memory is returned by <see cref="Dispose"/> only, never by the garbage collector.
/// </summary>
public sealed class DeviceBuffer : IDisposable
{
    private readonly Action<nint>? _free;
    private nint _address;
    private bool _disposed;

    /// <param name="device">Where the memory is.</param>
    /// <param name="address">First byte.</param>
    /// <param name="dtype">Element type.</param>
    /// <param name="length">Elements.</param>
    /// <param name="free">Called once with the address on disposal; null when somebody else owns the memory.</param>
    internal DeviceBuffer(Device device, nint address, DType dtype, long length, Action<nint>? free)
    {
        Device = device;
        DType = dtype;
        Length = length;
        _address = address;
        _free = free;
    }

    /// <summary>Where the memory is.</summary>
    public Device Device { get; }

    /// <summary>Element type.</summary>
    public DType DType { get; }

    /// <summary>Elements.</summary>
    public long Length { get; }

    /// <summary>Bytes.</summary>
    public long SizeInBytes => Length * DType.Size();

    /// <summary>Address of the first byte on the device.</summary>
    /// <exception cref="ObjectDisposedException">The memory was freed.</exception>
    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _address;
        }
    }

    /// <summary>The whole buffer as elements of <typeparamref name="T"/>, which must be the buffer's type.</summary>
    public DeviceSpan<T> AsSpan<T>() where T : unmanaged
    {
        Check.That(DTypes.Of<T>() == DType, $"AsSpan: the buffer holds {DType}, not {DTypes.Of<T>()}");
        return new DeviceSpan<T>(this, 0, checked((int)Length));
    }

    /// <summary>The first rows x columns elements as a matrix, row after row.</summary>
    public DeviceMatrix AsMatrix(int rows, int columns)
    {
        Check.That(rows >= 0 && columns >= 0 && (long)rows * columns <= Length, $"AsMatrix: [{rows}, {columns}] does not fit into {Length} elements");
        return new DeviceMatrix(this, 0, rows, columns, columns, DType);
    }

    /// <summary>Copies host bytes of elements to the device, from byte <paramref name="start"/> of the buffer on.</summary>
    public void CopyFrom(ReadOnlySpan<byte> source, long start = 0)
    {
        Check.That(start >= 0 && start <= SizeInBytes - source.Length, $"CopyFrom: bytes {start}..{start + source.Length} are outside of {SizeInBytes}");
        if (source.Length > 0) Device.CopyToDevice(source, Address + (nint)start);
    }

    /// <summary>Copies bytes from byte <paramref name="start"/> of the buffer on to the host, waiting for work that was queued before.</summary>
    public void CopyTo(Span<byte> destination, long start = 0)
    {
        Check.That(start >= 0 && start <= SizeInBytes - destination.Length, $"CopyTo: bytes {start}..{start + destination.Length} are outside of {SizeInBytes}");
        if (destination.Length > 0) Device.CopyToHost(Address + (nint)start, destination);
    }

    /// <summary>Frees the memory; its views are invalid from now on.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _free?.Invoke(_address);
        _address = 0;
    }
}
