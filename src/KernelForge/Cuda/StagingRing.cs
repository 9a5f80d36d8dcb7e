namespace KernelForge.Cuda;

/// <summary>
/// Pinned memory through which host bytes go to the device: they are copied here at once and from here when the stream comes to it, so an upload does not
/// wait for the device. The ring is cut into segments; a segment is used again when the copies out of it are done, which an event tells.
/// </summary>
internal sealed unsafe class StagingRing(CudaDevice device, int bytes) : IDisposable
{
    private const int Segments = 8, Alignment = 64;

    private readonly int _segmentBytes = Math.Max(bytes / Segments / Alignment * Alignment, Alignment);
    private readonly CudaEvent?[] _done = new CudaEvent?[Segments];
    private readonly Lock _lock = new();
    private byte* _memory;
    private int _segment, _used;

    /// <summary>Queues a copy; the source is free when the call returns. The context must be current.</summary>
    public void Upload(ReadOnlySpan<byte> source, nint destination)
    {
        lock (_lock)
        {
            if (_memory is null) Allocate();
            while (source.Length > 0)
            {
                if (_used == _segmentBytes) NextSegment();
                int count = Math.Min(source.Length, _segmentBytes - _used);
                byte* place = _memory + (long)_segment * _segmentBytes + _used;
                source[..count].CopyTo(new Span<byte>(place, count));
                device.Verify(device.Driver.MemcpyHtoDAsync(destination, place, (nuint)count, device.Stream.Handle), "cuMemcpyHtoDAsync");
                source = source[count..];
                destination += count;
                _used = Math.Min((_used + count + Alignment - 1) / Alignment * Alignment, _segmentBytes);
            }
        }
    }

    /// <summary>Frees the memory; copies out of it must be done, and the context current.</summary>
    public void Dispose()
    {
        if (_memory is not null) device.Driver.MemFreeHost(_memory);
        _memory = null;
    }

    private void Allocate()
    {
        void* memory;
        device.Verify(device.Driver.MemAllocHost(&memory, (nuint)(Segments * _segmentBytes)), "cuMemAllocHost", $"{Segments * _segmentBytes} bytes");
        _memory = (byte*)memory;
    }

    private void NextSegment()
    {
        (_done[_segment] ??= device.CreateEvent(withTiming: false)).Record();
        _segment = (_segment + 1) % Segments;
        _done[_segment]?.Synchronize();
        _used = 0;
    }
}
