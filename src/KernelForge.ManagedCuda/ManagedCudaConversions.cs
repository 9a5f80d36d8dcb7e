using ManagedCuda;
using ManagedCuda.BasicTypes;

namespace KernelForge.ManagedCuda;

/// <summary>
/// The same memory, streams and context seen from both libraries. Nothing is copied and nothing changes its owner: what a conversion returns is valid as long
/// as what it was made from, and disposing it frees nothing but itself.
/// </summary>
public static class ManagedCudaConversions
{
    /// <summary>ManagedCuda's memory as operators take it; it must lie on the device.</summary>
    /// <exception cref="ArgumentException"><typeparamref name="T"/> is no element type.</exception>
    public static DeviceSpan<T> AsDeviceSpan<T>(this CudaDeviceVariable<T> variable, CudaDevice device) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(variable);
        ArgumentNullException.ThrowIfNull(device);
        long length = variable.Size;
        return device.Wrap((nint)(ulong)variable.DevicePointer.Pointer, DTypes.Of<T>(), length).AsSpan<T>();
    }

    /// <summary>Device memory as ManagedCuda takes it.</summary>
    public static unsafe CudaDeviceVariable<T> AsDeviceVariable<T>(this DeviceSpan<T> span) where T : unmanaged =>
        new(new CUdeviceptr((SizeT)(nuint)span.Address), false, (SizeT)((long)span.Length * sizeof(T)));

    /// <summary>A stream of ManagedCuda, made in the device's primary context, for launches, events and graphs.</summary>
    public static CudaStream AsStream(this global::ManagedCuda.CudaStream stream, CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(device);
        return device.WrapStream(stream.Stream.Pointer);
    }

    /// <summary>A stream as ManagedCuda takes it; the device's own one is <see cref="CudaDevice.Stream"/>.</summary>
    public static global::ManagedCuda.CudaStream AsManagedStream(this CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        return new global::ManagedCuda.CudaStream(new CUstream { Pointer = stream.Handle }, false);
    }

    /// <summary>The device's primary context as ManagedCuda's; the caller disposes it. Call SetCurrent on every thread that uses it.</summary>
    public static PrimaryContext AsManagedContext(this CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return new PrimaryContext(device.Ordinal);
    }
}
