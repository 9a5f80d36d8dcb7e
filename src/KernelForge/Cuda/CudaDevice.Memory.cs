using KernelForge.Cuda;

namespace KernelForge;

/// <summary>Memory is allocated and freed in the order of the stream where the driver can, and at once where it cannot.</summary>
public sealed unsafe partial class CudaDevice
{
    private readonly StagingRing _staging;
    private readonly HashSet<nint> _allocations = [];
    private readonly List<nint> _freeAfterCapture = [];
    private bool _poolsSupported;
    private int _captures;

    /// <inheritdoc/>
    protected override nint AllocateCore(long bytes)
    {
        using CurrentContext context = Enter();
        RefuseInCapture("allocated");
        nint address;
        CUresult result = AllocateOnDriver(&address, (nuint)Math.Max(bytes, 1));
        if (result == CUresult.OutOfMemory) throw new InsufficientMemoryException($"{Name} has not {bytes:N0} bytes: {MemoryText()}");
        Verify(result, "cuMemAlloc", $"{bytes:N0} bytes");
        lock (_allocations) _allocations.Add(address);
        return address;
    }

    /// <inheritdoc/>
    protected override void FreeCore(nint address)
    {
        lock (_allocations)
        {
            if (!_allocations.Remove(address)) return; // went with the device
            if (_captures > 0)
            {
                _freeAfterCapture.Add(address);
                return;
            }
        }
        using CurrentContext context = Enter();
        Free(address);
    }

    /// <inheritdoc/>
    protected internal override void CopyToDevice(ReadOnlySpan<byte> source, nint destination)
    {
        using CurrentContext context = Enter();
        RefuseInCapture("uploaded to");
        _staging.Upload(source, destination);
    }

    /// <inheritdoc/>
    protected internal override void CopyToHost(nint source, Span<byte> destination)
    {
        using CurrentContext context = Enter();
        RefuseInCapture("read");
        fixed (byte* target = destination)
        {
            Verify(Driver.MemcpyDtoHAsync(target, source, (nuint)destination.Length, Stream.Handle), "cuMemcpyDtoHAsync");
            Verify(Driver.StreamSynchronize(Stream.Handle), "cuStreamSynchronize");
        }
    }

    internal void BeginCapture()
    {
        lock (_allocations) _captures++;
    }

    internal void EndCapture()
    {
        lock (_allocations)
        {
            if (--_captures > 0) return;
            foreach (nint address in _freeAfterCapture) Free(address);
            _freeAfterCapture.Clear();
        }
    }

    private CUresult AllocateOnDriver(nint* address, nuint bytes)
    {
        if (_poolsSupported)
        {
            CUresult result = Driver.MemAllocAsync(address, bytes, Stream.Handle);
            if (result != CUresult.NotSupported) return result;
            _poolsSupported = false;
        }
        return Driver.MemAlloc(address, bytes);
    }

    /// <summary>Gives memory back. The result is not looked at: it would be the fault of earlier work.</summary>
    private void Free(nint address)
    {
        if (_poolsSupported) Driver.MemFreeAsync(address, Stream.Handle);
        else Driver.MemFree(address);
    }

    private void FreeAll()
    {
        lock (_allocations)
        {
            foreach (nint address in _allocations.Concat(_freeAfterCapture)) Driver.MemFree(address);
            _allocations.Clear();
            _freeAfterCapture.Clear();
        }
        _staging?.Dispose();
    }

    private void RefuseInCapture(string what)
    {
        if (Volatile.Read(ref _captures) > 0)
            throw new InvalidOperationException($"device memory cannot be {what} while a graph is captured: do it before, or after");
    }

    private string MemoryText()
    {
        nuint free, total;
        return Driver.MemGetInfo(&free, &total) == CUresult.Success ? $"{free:N0} of {total:N0} are free" : "the driver does not say how much is free";
    }
}
