#if KERNELFORGE_MANAGEDCUDA
using KernelForge.Tests;
using KernelForge.Tests.Cuda;
using ManagedCuda;

namespace KernelForge.ManagedCuda.Tests;

/// <summary>ManagedCuda as provider passes what every provider passes. It finds the emulator where a libcuda.so on the loader's path leads to it.</summary>
[Provider("managedcuda")]
public sealed class ManagedCudaConformanceTests() : DriverConformanceTests(ManagedCudaDriver.Open, ordinal: 0, runsKernels: true);

public class ManagedCudaTests
{
    [Fact]
    public void DevicesAndMemory_AreShared()
    {
        using CudaDevice device = Device.OpenCuda(0, new CudaDeviceOptions { Driver = ManagedCudaDriver.Open() });
        using PrimaryContext context = device.AsManagedContext();
        context.SetCurrent();
        Assert.Equal(device.Context, context.Context.Pointer);

        using CudaDeviceVariable<int> variable = new(3);
        variable.CopyToDevice([1, 2, 3]);
        using CudaStream stream = device.CreateStream();
        AddValue.Add(AddValue.Load(device), variable.AsDeviceSpan(device), 10, stream);
        using (global::ManagedCuda.CudaStream managed = stream.AsManagedStream()) managed.Synchronize();
        Assert.Equal([11, 12, 13], (int[])variable);

        using DeviceBuffer buffer = device.Upload<int>([4, 5]);
        device.Synchronize();
        int[] values = new int[2];
        buffer.AsSpan<int>().AsDeviceVariable().CopyToHost(values);
        Assert.Equal([4, 5], values);

        using global::ManagedCuda.CudaStream theirs = new();
        theirs.AsStream(device).Synchronize();
    }

    [Fact]
    public void Graphs_ReplayThroughManagedCuda()
    {
        using CudaDevice device = Device.OpenCuda(0, new CudaDeviceOptions { Driver = ManagedCudaDriver.Open() });
        using DeviceBuffer buffer = device.Upload<int>([0]);
        CudaKernel kernel = AddValue.Load(device);
        using CudaGraph graph = CudaGraph.Capture(device.Stream, () => AddValue.Add(kernel, buffer.AsSpan<int>(), 3));
        graph.Launch();
        graph.Launch();
        Assert.Equal([6], buffer.AsSpan<int>().ToArray());
    }

    [Fact]
    public void Launch_AllocatesNothing()
    {
        using CudaDevice device = Device.OpenCuda(0, new CudaDeviceOptions { Driver = ManagedCudaDriver.Open() });
        using DeviceBuffer buffer = device.Upload<int>([0]);
        CudaKernel kernel = AddValue.Load(device);
        AddValue.Add(kernel, buffer.AsSpan<int>(), 1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++) AddValue.Add(kernel, buffer.AsSpan<int>(), 1);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
#endif
