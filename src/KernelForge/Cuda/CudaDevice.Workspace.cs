using KernelForge.Cuda;

namespace KernelForge;

/// <summary>Memory for sums that pass between blocks: allocated with the first product, which therefore cannot be captured.</summary>
public sealed unsafe partial class CudaDevice
{
    private readonly Lock _workspaceLock = new();
    private CudaWorkspace? _workspace;

    /// <summary>One for the device, freed with it. It does not count as memory of buffers.</summary>
    internal CudaWorkspace Workspace => _workspace ?? MakeWorkspace();

    private CudaWorkspace MakeWorkspace()
    {
        lock (_workspaceLock)
        {
            if (_workspace is not null) return _workspace;
            var made = new CudaWorkspace(this, AllocateCore(CudaWorkspace.Bytes));
            CopyToDevice(new byte[CudaWorkspace.CounterBytes], made.Counters);
            Synchronize(); // whatever stream uses it first
            return _workspace = made;
        }
    }
}
