
namespace KernelForge;

/// <summary>Something that a device holds in the driver: it lives until it, or its device, is disposed.</summary>
public abstract class CudaResource : IDisposable
{
    private nint _handle;

    private protected CudaResource(CudaDevice device, nint handle)
    {
        Device = device;
        _handle = handle;
        device.Adopt(this);
    }

    /// <summary>Where it lives.</summary>
    public CudaDevice Device { get; }

    /// <summary>The driver's handle.</summary>
    /// <exception cref="ObjectDisposedException">It, or its device, was disposed.</exception>
    public nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    internal bool IsDisposed => _handle == 0;

    /// <summary>Frees it. Work that was queued before still runs.</summary>
    public void Dispose()
    {
        nint handle = Interlocked.Exchange(ref _handle, 0);
        if (handle != 0)
        {
            using CurrentContext context = Device.Enter();
            Device.Disown(this);
            Release(Device.Driver, handle);
        }
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the handle back to the driver. The result is not looked at: it would be the fault of earlier work.</summary>
    private protected abstract void Release(ICudaDriver driver, nint handle);
}
