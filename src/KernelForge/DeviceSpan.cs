using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>A typed run of elements of a <see cref="DeviceBuffer"/>. The default value is empty and belongs to no device.</summary>
public readonly struct DeviceSpan<T> where T : unmanaged
{
    private readonly DeviceBuffer? _buffer;
    private readonly nint _offsetBytes;

    internal DeviceSpan(DeviceBuffer buffer, nint offsetBytes, int length)
    {
        _buffer = buffer;
        _offsetBytes = offsetBytes;
        Length = length;
    }

    /// <summary>Elements.</summary>
    public int Length { get; }

    /// <summary>Whether there are no elements.</summary>
    public bool IsEmpty => Length == 0;

    /// <summary>The device whose memory this is; null for the default value.</summary>
    public Device? Device => _buffer?.Device;

    /// <summary>Address of the first element on the device; 0 for the default value.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was freed.</exception>
    public nint Address => _buffer is null ? 0 : _buffer.Address + _offsetBytes;

    /// <summary>Elements start .. start + length - 1.</summary>
    public unsafe DeviceSpan<T> Slice(int start, int length)
    {
        Check.That(start >= 0 && length >= 0 && start <= Length - length, $"Slice: {start}..{start + length} is outside of {Length} elements");
        return _buffer is null ? default : new DeviceSpan<T>(_buffer, _offsetBytes + (nint)start * sizeof(T), length);
    }

    /// <summary>The same memory as elements of another type, which must fill it exactly.</summary>
    internal unsafe DeviceSpan<TOther> As<TOther>() where TOther : unmanaged
    {
        Check.That((long)Length * sizeof(T) % sizeof(TOther) == 0, $"As: {Length} elements of {sizeof(T)} bytes are no whole number of {sizeof(TOther)}");
        return _buffer is null ? default : new DeviceSpan<TOther>(_buffer, _offsetBytes, (int)((long)Length * sizeof(T) / sizeof(TOther)));
    }

    /// <summary>Copies host elements to the device; lengths must be equal.</summary>
    public void CopyFrom(ReadOnlySpan<T> source)
    {
        Check.That(source.Length == Length, $"CopyFrom: {source.Length} elements given, {Length} expected");
        if (Length > 0) _buffer!.Device.CopyToDevice(MemoryMarshal.AsBytes(source), Address);
    }

    /// <summary>Copies the elements to the host, waiting for work that was queued before; lengths must be equal.</summary>
    public void CopyTo(Span<T> destination)
    {
        Check.That(destination.Length == Length, $"CopyTo: room for {destination.Length} elements given, {Length} expected");
        if (Length > 0) _buffer!.Device.CopyToHost(Address, MemoryMarshal.AsBytes(destination));
    }

    /// <summary>The elements copied to a new host array.</summary>
    public T[] ToArray()
    {
        var result = new T[Length];
        CopyTo(result);
        return result;
    }

    /// <summary>The memory itself, on the CPU device.</summary>
    /// <exception cref="InvalidOperationException">The memory is on another device.</exception>
    public unsafe Span<T> OnCpu
    {
        get
        {
            if (Length == 0) return [];
            if (!_buffer!.Device.IsCpu) throw new InvalidOperationException($"the memory is on {_buffer.Device.Name}; copy it with CopyTo");
            return new Span<T>((void*)Address, Length);
        }
    }
}
