using CommunityToolkit.HighPerformance;
using KernelForge.Cpu;

namespace KernelForge;

/// <summary>
/// A place with memory and operators. Buffers belong to one device; operators take memory of their own device only.
/// Operators may be called from several threads; each call waits for the one before it.
/// </summary>
public abstract class Device : IDisposable
{
    private static readonly Lazy<Device> SharedCpu = new(() => new CpuDevice(new CpuDeviceOptions(), isShared: true));

    private long _allocatedBytes;

    /// <summary>The CPU with all its cores. One for the process; disposing it does nothing.</summary>
    public static Device Cpu => SharedCpu.Value;

    /// <summary>The best device of this machine.</summary>
    public static Device Default => Cpu;

    /// <summary>A CPU device of its own, with its own threads.</summary>
    public static Device OpenCpu(CpuDeviceOptions? options = null) => new CpuDevice(options ?? new CpuDeviceOptions(), isShared: false);

    /// <summary>What it is, for people: processor or GPU, cores, instruction set.</summary>
    public abstract string Name { get; }

    /// <summary>Whether device memory is host memory.</summary>
    public abstract bool IsCpu { get; }

    /// <summary>What the device can compute.</summary>
    public abstract Operators Operators { get; }

    /// <summary>Bytes that buffers of this device hold now.</summary>
    public long AllocatedBytes => Interlocked.Read(ref _allocatedBytes);

    /// <summary>Memory for <paramref name="length"/> elements, aligned to 64 bytes or more, not cleared.</summary>
    /// <exception cref="OutOfMemoryException">The device has not that much memory.</exception>
    public DeviceBuffer Allocate(DType dtype, long length)
    {
        Check.That(length >= 0, $"Allocate: length {length} is negative");
        long bytes = checked(length * dtype.Size());
        nint address = AllocateCore(bytes);
        Interlocked.Add(ref _allocatedBytes, bytes);
        return new DeviceBuffer(this, address, dtype, length, free: freed =>
        {
            Interlocked.Add(ref _allocatedBytes, -bytes);
            FreeCore(freed);
        });
    }

    /// <summary>New memory with a copy of the host elements.</summary>
    public DeviceBuffer Upload<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        DeviceBuffer buffer = Allocate(DTypes.Of<T>(), values.Length);
        buffer.AsSpan<T>().CopyFrom(values);
        return buffer;
    }

    /// <summary>New memory with a copy of the host matrix, row after row.</summary>
    public DeviceBuffer Upload<T>(ReadOnlySpan2D<T> values) where T : unmanaged
    {
        DeviceBuffer buffer = Allocate(DTypes.Of<T>(), values.Length);
        buffer.AsMatrix(values.Height, values.Width).CopyFrom(values);
        return buffer;
    }

    /// <summary>
    /// Describes memory of this device that somebody else owns and keeps alive, such as a mapped file. Disposing the buffer frees nothing.
    /// </summary>
    public DeviceBuffer Wrap(nint address, DType dtype, long length)
    {
        Check.That(length >= 0 && (address != 0 || length == 0), $"Wrap: address {address} with {length} elements");
        return new DeviceBuffer(this, address, dtype, length, free: null);
    }

    /// <summary>Waits until all queued work is done.</summary>
    public abstract void Synchronize();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the device holds. Buffers must be disposed before.</summary>
    protected abstract void Dispose(bool disposing);

    /// <summary>Returns at least <paramref name="bytes"/> bytes (never 0 as address), or throws <see cref="OutOfMemoryException"/>.</summary>
    protected abstract nint AllocateCore(long bytes);

    /// <summary>Frees what <see cref="AllocateCore"/> returned.</summary>
    protected abstract void FreeCore(nint address);

    /// <summary>Copies host bytes to device memory, in order with queued work.</summary>
    protected internal abstract void CopyToDevice(ReadOnlySpan<byte> source, nint destination);

    /// <summary>Copies device memory to the host after queued work is done.</summary>
    protected internal abstract void CopyToHost(nint source, Span<byte> destination);
}
