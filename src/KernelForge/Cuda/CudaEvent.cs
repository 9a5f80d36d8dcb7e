
namespace KernelForge;

/// <summary>A point in the work of a stream: to wait for, and to measure time between two.</summary>
public sealed unsafe class CudaEvent : CudaResource
{
    internal CudaEvent(CudaDevice device, nint handle) : base(device, handle)
    {
    }

    /// <summary>Whether the work before the last recording is done.</summary>
    public bool IsDone
    {
        get
        {
            using CurrentContext context = Device.Enter();
            CUresult result = Device.Driver.EventQuery(Handle);
            if (result != CUresult.NotReady) Device.Verify(result, "cuEventQuery");
            return result == CUresult.Success;
        }
    }

    /// <summary>Marks the work queued so far, on the device's own stream or another.</summary>
    public void Record(CudaStream? stream = null)
    {
        using CurrentContext context = Device.Enter();
        Device.Verify(Device.Driver.EventRecord(Handle, (stream ?? Device.Stream).Handle), "cuEventRecord");
    }

    /// <summary>Waits until the work before the last recording is done.</summary>
    /// <exception cref="CudaException">Some of it failed.</exception>
    public void Synchronize()
    {
        using CurrentContext context = Device.Enter();
        Device.Verify(Device.Driver.EventSynchronize(Handle), "cuEventSynchronize");
    }

    /// <summary>Milliseconds of device time from <paramref name="start"/> to this event; both must be done, and made for timing.</summary>
    public float ElapsedMs(CudaEvent start)
    {
        ArgumentNullException.ThrowIfNull(start);
        using CurrentContext context = Device.Enter();
        float milliseconds;
        Device.Verify(Device.Driver.EventElapsedTime(&milliseconds, start.Handle, Handle), "cuEventElapsedTime");
        return milliseconds;
    }

    private protected override void Release(ICudaDriver driver, nint handle) => driver.EventDestroy(handle);
}
