using System.IO.MemoryMappedFiles;
using KernelForge.Cpu;

namespace KernelForge;

/// <summary>A file seen as memory, read only: pages are loaded when they are touched and shared with every process that maps the file.</summary>
public sealed unsafe class MappedFile : IDisposable
{
    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly byte* _start;
    private bool _disposed;

    /// <summary>Maps a whole file.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public MappedFile(string path)
    {
        Path = path;
        using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        Length = stream.Length;
        if (Length == 0) return; // an empty mapping does not exist

        _file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        _view = _file.CreateViewAccessor(0, Length, MemoryMappedFileAccess.Read);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = start + _view.PointerOffset;
        HugePages.Ask((nint)_start, Length);
    }

    /// <summary>The file's path as given.</summary>
    public string Path { get; }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>Bytes offset .. offset + length - 1.</summary>
    public ReadOnlySpan<byte> Bytes(long offset, int length)
    {
        CheckRange(offset, length);
        return new ReadOnlySpan<byte>(_start + offset, length);
    }

    /// <summary>The bytes from <paramref name="offset"/> on as read-only memory of a CPU device, without a copy; valid until the file is disposed.</summary>
    public DeviceBuffer AsBuffer(Device device, long offset, DType dtype, long length)
    {
        ArgumentNullException.ThrowIfNull(device);
        Check.That(device.IsCpu, $"AsBuffer: {device.Name} cannot see host memory; upload it");
        CheckRange(offset, checked(length * dtype.Size()));
        return device.Wrap((nint)(_start + offset), dtype, length);
    }

    /// <summary>
    /// The bytes are not needed soon: whole pages among them stop counting as memory of this process and are loaded again when they are touched. Only a hint.
    /// </summary>
    public void Release(long offset, long length)
    {
        CheckRange(offset, length);
        SystemMemory.Release((nint)(_start + offset), length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _view?.SafeMemoryMappedViewHandle.ReleasePointer();
        _view?.Dispose();
        _file?.Dispose();
    }

    private void CheckRange(long offset, long length)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Check.That(offset >= 0 && length >= 0 && offset <= Length - length, $"{Path}: bytes {offset}..{offset + length} are outside of its {Length}");
    }
}
