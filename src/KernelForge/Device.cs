using System.Runtime.InteropServices;
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

    private static readonly DType[] AllFloatTypes = [DType.F32, DType.F16, DType.BF16];

    private static readonly Lazy<Device> SharedDefault = new(() => CudaDevice.OpenShared() ?? Cpu);

    private long _allocatedBytes;

    /// <summary>The CPU with all its cores. One for the process; disposing it does nothing.</summary>
    public static Device Cpu => SharedCpu.Value;

    /// <summary>
    /// The best device of this machine: the first CUDA device where there is one, with a driver and kernels for it, else the CPU. One for the process;
    /// disposing it does nothing.
    /// </summary>
    public static Device Default => SharedDefault.Value;

    /// <summary>A CPU device of its own, with its own threads.</summary>
    public static Device OpenCpu(CpuDeviceOptions? options = null) => new CpuDevice(options ?? new CpuDeviceOptions(), isShared: false);

    /// <summary>A CUDA device of its own, with its own stream; the memory is that of the GPU's one context.</summary>
    /// <param name="ordinal">The driver's number of the device, from 0.</param>
    /// <param name="options">Driver, kernels and stream; null to take what the environment and the machine give.</param>
    /// <exception cref="CudaUnavailableException">No driver, too old a driver, or no such device; the message says which and what to do.</exception>
    public static CudaDevice OpenCuda(int ordinal = 0, CudaDeviceOptions? options = null) =>
        new(ordinal, options ?? new CudaDeviceOptions(), isShared: false);

    /// <summary>What it is, for people: processor or GPU, cores, instruction set.</summary>
    public abstract string Name { get; }

    /// <summary>Whether device memory is host memory.</summary>
    public abstract bool IsCpu { get; }

    /// <summary>What the device can compute.</summary>
    public abstract Operators Operators { get; }

    /// <summary>Bytes that buffers of this device hold now.</summary>
    public long AllocatedBytes => Interlocked.Read(ref _allocatedBytes);

    /// <summary>
    /// Bytes of memory that a program may count on: what is free now on a device with memory of its own, on the CPU what the machine, or the limit
    /// this process runs under, has in all.
    /// </summary>
    public virtual long AvailableBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>
    /// Float types that a model's activations can have here, the preferred one first. The CPU takes all three and mixes them; where F32 is missing, weights,
    /// keys and values have the type of the activations.
    /// </summary>
    public virtual IReadOnlyList<DType> ComputeTypes => AllFloatTypes;

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

    /// <summary>New memory with the host matrix, row after row, rounded to a float type.</summary>
    public DeviceBuffer Upload(ReadOnlySpan2D<float> values, DType dtype)
    {
        int rowBytes = values.Width * dtype.Size();
        var rounded = new byte[checked(values.Height * rowBytes)];
        for (int row = 0; row < values.Height; row++)
            DTypes.Convert(MemoryMarshal.AsBytes(values.GetRowSpan(row)), DType.F32, rounded.AsSpan(row * rowBytes, rowBytes), dtype);
        DeviceBuffer buffer = Allocate(dtype, values.Length);
        buffer.CopyFrom(rounded);
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
