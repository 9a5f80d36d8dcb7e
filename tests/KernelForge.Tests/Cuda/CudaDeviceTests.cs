namespace KernelForge.Tests.Cuda;

/// <summary>Devices, streams, graphs and faults on the emulator, with kernels that run. Nothing may be left in it after a test.</summary>
public sealed class CudaDeviceTests(CudaLeakCheck emulator) : IClassFixture<CudaLeakCheck>, IDisposable
{
    private const string Emulated = "emulated-sm80";

    public void Dispose() => emulator.AssertNothingIsLeft();

    [DeviceFact(Emulated)]
    public void Devices_SideBySide()
    {
        using CudaDevice first = emulator.Open(0), second = emulator.Open(1);
        Assert.Equal((new Version(8, 0), new Version(9, 0)), (first.ComputeCapability, second.ComputeCapability));
        CudaKernel here = AddValue.Load(first), there = AddValue.Load(second);
        using DeviceBuffer a = first.Upload<int>(new int[200]), b = second.Upload<int>(new int[200]);
        AddValue.Add(here, a.AsSpan<int>(), 1);
        AddValue.Add(there, b.AsSpan<int>(), 2);
        Assert.Equal(Enumerable.Repeat(1, 200), a.AsSpan<int>().ToArray());
        Assert.Equal(Enumerable.Repeat(2, 200), b.AsSpan<int>().ToArray());
    }

    [DeviceFact(Emulated)]
    public void Libraries_SideBySide()
    {
        using PrivateEmulator other = new();
        using CudaDevice here = emulator.Open(), there = Device.OpenCuda(0, new CudaDeviceOptions { Driver = other.Driver });
        using DeviceBuffer a = here.Upload<int>([1, 2]), b = there.Upload<int>([3, 4]);
        AddValue.Add(AddValue.Load(here), a.AsSpan<int>(), 10);
        AddValue.Add(AddValue.Load(there), b.AsSpan<int>(), 20);
        Assert.Equal([11, 12], a.AsSpan<int>().ToArray());
        Assert.Equal([23, 24], b.AsSpan<int>().ToArray());
        Assert.Equal(1, other.Live("allocations"));
        Assert.Contains("allocations: 1", emulator.Live);
    }

    [DeviceFact(Emulated)]
    public void Streams_WaitForEvents()
    {
        using CudaDevice device = emulator.Open();
        CudaKernel kernel = AddValue.Load(device);
        using DeviceBuffer buffer = device.Upload<int>([1, 2, 3]), copy = device.Allocate(DType.I32, 3);
        using CudaStream stream = device.CreateStream();
        using CudaEvent uploaded = device.CreateEvent(), done = device.CreateEvent();
        uploaded.Record();
        stream.Wait(uploaded);
        AddValue.Add(kernel, buffer.AsSpan<int>(), 5, stream);
        stream.Copy(buffer.AsSpan<int>(), copy.AsSpan<int>());
        done.Record(stream);
        device.Stream.Wait(done);
        Assert.Equal([6, 7, 8], copy.AsSpan<int>().ToArray());
        Assert.True(done.IsDone && done.ElapsedMs(uploaded) >= 0);
    }

    [DeviceFact(Emulated)]
    public void Graph_ReplaysAndFollowsUpdates()
    {
        using CudaDevice device = emulator.Open();
        CudaKernel kernel = AddValue.Load(device);
        using DeviceBuffer buffer = device.Upload<int>([0, 0, 0]);
        DeviceSpan<int> values = buffer.AsSpan<int>();
        using CudaGraph graph = CudaGraph.Capture(device.Stream, () => AddValue.Add(kernel, values, 1));
        Assert.Equal([0, 0, 0], values.ToArray());
        graph.Launch();
        graph.Launch();
        Assert.Equal([2, 2, 2], values.ToArray());

        Assert.True(graph.TryUpdate(device.Stream, () => AddValue.Add(kernel, values.Slice(0, 2), 10)));
        graph.Launch();
        Assert.Equal([12, 12, 2], values.ToArray());

        Assert.False(graph.TryUpdate(device.Stream, () =>
        {
            AddValue.Add(kernel, values, 1);
            AddValue.Add(kernel, values, 1);
        }));
        graph.Launch();
        Assert.Equal([22, 22, 2], values.ToArray());
    }

    [DeviceFact(Emulated)]
    public void Fault_NamesKernelThreadAndArguments()
    {
        using PrivateEmulator broken = new(); // a fault stays with the context
        using CudaDevice device = Device.OpenCuda(0, new CudaDeviceOptions { Driver = broken.Driver });
        CudaKernel kernel = AddValue.Load(device);
        using DeviceBuffer buffer = device.Upload<int>([1, 2, 3]);
        kernel.Launch(1, 32, new AddValueArgs(buffer.Address, 1, 4));

        var failure = Assert.Throws<CudaException>(device.Synchronize);

        Assert.Equal(CUresult.IllegalAddress, failure.Result);
        foreach (string part in (string[])["CUDA_ERROR_ILLEGAL_ADDRESS", "add_value, grid (1, 1, 1), block (32, 1, 1)", "Count = 4", "thread"])
            Assert.Contains(part, failure.Message, StringComparison.Ordinal);
    }

    [DeviceFact(Emulated)]
    public void WrongArguments_AndWrongPtx_AreToldBeforeAnythingRuns()
    {
        using CudaDevice device = emulator.Open();
        CudaKernel kernel = AddValue.Load(device);
        Assert.Contains("wrong size", Assert.Throws<ArgumentException>(() => kernel.Launch(1, 32, 1L)).Message, StringComparison.Ordinal);

        byte[] unknown = [.. AddValue.Text.Replace("mad.lo.s32", "made.up.s32", StringComparison.Ordinal).Select(letter => (byte)letter)];
        string message = Assert.Throws<CudaException>(() => device.LoadModule(unknown, "unknown.ptx")).Message;
        foreach (string part in (string[])["CUDA_ERROR_INVALID_PTX", "unknown.ptx (PTX 8.4, target sm_80)", "made.up.s32"])
            Assert.Contains(part, message, StringComparison.Ordinal);
    }

    [DeviceFact(Emulated)]
    public void EveryKernelFile_LoadsOnBothDevices()
    {
        foreach (int ordinal in (int[])[0, 1])
        {
            using CudaDevice device = emulator.Open(ordinal);
            Assert.NotEmpty(device.KernelNames);
            foreach (string name in device.KernelNames) Assert.EndsWith(name + ".ptx", device.KernelModule(name).Name, StringComparison.Ordinal);
        }
    }

    [DeviceFact(Emulated)]
    public void Device_OfACallersStream_WorksOnIt()
    {
        using CudaDevice owner = emulator.Open();
        using CudaStream stream = owner.CreateStream();
        using (CudaDevice guest = Device.OpenCuda(0, new CudaDeviceOptions { Driver = owner.Driver, Stream = stream.Handle }))
        {
            using DeviceBuffer buffer = guest.Upload<int>([4]);
            Assert.Equal([4], buffer.AsSpan<int>().ToArray());
            Assert.Equal(owner.Context, guest.Context);
        }
        stream.Synchronize();
    }
}
