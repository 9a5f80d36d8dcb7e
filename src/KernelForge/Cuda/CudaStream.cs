
namespace KernelForge;

/// <summary>Work of a device in order. Different streams run side by side, unless one waits for an event of another.</summary>
public sealed unsafe class CudaStream : CudaResource
{
    private readonly bool _isOwner;

    internal CudaStream(CudaDevice device, nint handle, bool isOwner) : base(device, handle) => _isOwner = isOwner;

    /// <summary>Whether all work queued so far is done.</summary>
    public bool IsDone
    {
        get
        {
            using CurrentContext context = Device.Enter();
            CUresult result = Device.Driver.StreamQuery(Handle);
            if (result != CUresult.NotReady) Device.Verify(result, "cuStreamQuery");
            return result == CUresult.Success;
        }
    }

    /// <summary>Waits until all work queued so far is done.</summary>
    /// <exception cref="CudaException">Some of it failed.</exception>
    public void Synchronize()
    {
        using CurrentContext context = Device.Enter();
        Device.Verify(Device.Driver.StreamSynchronize(Handle), "cuStreamSynchronize");
    }

    /// <summary>Work queued from now on starts when the work before the event's last recording is done.</summary>
    public void Wait(CudaEvent recorded)
    {
        ArgumentNullException.ThrowIfNull(recorded);
        using CurrentContext context = Device.Enter();
        Device.Verify(Device.Driver.StreamWaitEvent(Handle, recorded.Handle, 0), "cuStreamWaitEvent");
    }

    /// <summary>Queues a copy inside the device; lengths must be equal.</summary>
    public void Copy<T>(DeviceSpan<T> source, DeviceSpan<T> destination) where T : unmanaged
    {
        Check.That(source.Length == destination.Length, $"Copy: {source.Length} elements given, {destination.Length} expected");
        if (source.IsEmpty) return;
        using CurrentContext context = Device.Enter();
        Device.Verify(
            Device.Driver.MemcpyDtoDAsync(destination.Address, source.Address, (nuint)source.Length * (nuint)sizeof(T), Handle), "cuMemcpyDtoDAsync");
    }

    /// <summary>Queues setting every byte to zero.</summary>
    public void Clear<T>(DeviceSpan<T> destination) where T : unmanaged
    {
        if (destination.IsEmpty) return;
        using CurrentContext context = Device.Enter();
        Device.Verify(Device.Driver.MemsetD8Async(destination.Address, 0, (nuint)destination.Length * (nuint)sizeof(T), Handle), "cuMemsetD8Async");
    }

    private protected override void Release(ICudaDriver driver, nint handle)
    {
        if (_isOwner) driver.StreamDestroy(handle);
    }
}
