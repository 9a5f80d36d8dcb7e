
namespace KernelForge;

/// <summary>Work recorded once and launched many times by one call. What it reads and writes must stay where it was when it was recorded.</summary>
public sealed unsafe class CudaGraph : CudaResource
{
    /// <summary>Calls of other threads are not the capture's business.</summary>
    private const int ThreadLocal = 1;

    private CudaGraph(CudaDevice device, nint instance) : base(device, instance)
    {
    }

    /// <summary>Records the work that <paramref name="record"/> queues on the stream, without running it. It must not allocate, upload or wait.</summary>
    /// <exception cref="InvalidOperationException">The work allocates, uploads or reads device memory.</exception>
    /// <exception cref="CudaException">The work cannot be captured.</exception>
    public static CudaGraph Capture(CudaStream stream, Action record)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(record);
        CudaDevice device = stream.Device;
        using CurrentContext context = device.Enter();
        nint graph = Record(stream, record), instance;
        CUresult result = device.Driver.GraphInstantiate(&instance, graph);
        device.Driver.GraphDestroy(graph);
        device.Verify(result, "cuGraphInstantiate");
        return new CudaGraph(device, instance);
    }

    /// <summary>
    /// Replaces the work by that of <paramref name="record"/>, when it has the same shape (the same kernels in the same order; arguments and grids may differ).
    /// Returns whether it could; if not, the graph is as before.
    /// </summary>
    public bool TryUpdate(CudaStream stream, Action record)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(record);
        using CurrentContext context = Device.Enter();
        nint instance = Handle, graph = Record(stream, record);
        CUresult result = Device.Driver.GraphExecUpdate(instance, graph);
        Device.Driver.GraphDestroy(graph);
        if (result != CUresult.GraphExecUpdateFailure) Device.Verify(result, "cuGraphExecUpdate");
        return result == CUresult.Success;
    }

    /// <summary>Queues the recorded work, on the device's own stream or another.</summary>
    public void Launch(CudaStream? stream = null)
    {
        using CurrentContext context = Device.Enter();
        Device.Launches.AddGraph();
        Device.Verify(Device.Driver.GraphLaunch(Handle, (stream ?? Device.Stream).Handle), "cuGraphLaunch");
    }

    private protected override void Release(ICudaDriver driver, nint handle) => driver.GraphExecDestroy(handle);

    private static nint Record(CudaStream stream, Action record)
    {
        CudaDevice device = stream.Device;
        nint graph = 0;
        CUresult ended;
        device.BeginCapture();
        try
        {
            device.Verify(device.Driver.StreamBeginCapture(stream.Handle, ThreadLocal), "cuStreamBeginCapture");
            try
            {
                record();
            }
            finally
            {
                ended = device.Driver.StreamEndCapture(stream.Handle, &graph);
            }
        }
        catch
        {
            if (graph != 0) device.Driver.GraphDestroy(graph);
            throw;
        }
        finally
        {
            device.EndCapture();
        }
        device.Verify(ended, "cuStreamEndCapture");
        return graph;
    }
}
