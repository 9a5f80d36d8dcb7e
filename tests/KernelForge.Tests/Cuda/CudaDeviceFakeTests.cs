namespace KernelForge.Tests.Cuda;

/// <summary>What a device asks of its driver: what it frees, what it allocates, what it says when a call fails.</summary>
public class CudaDeviceFakeTests
{
    [Fact]
    public void Dispose_FreesWhatIsLeft()
    {
        FakeCudaDriver driver = new();
        CudaDevice device = Open(driver);
        UseEverything(device);
        DeviceBuffer left = device.Upload<int>([1, 2, 3]);
        CudaStream stream = device.CreateStream();
        Assert.NotEmpty(driver.Live);

        device.Dispose();
        Assert.Empty(driver.Live);

        left.Dispose();
        stream.Dispose();
        device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => device.Allocate(DType.F32, 1));
        Assert.Empty(driver.Live);
    }

    [Fact]
    public void AnyCallFailing_LeavesNothingBehind()
    {
        FakeCudaDriver driver;
        int failing = 0;
        while (true)
        {
            driver = new FakeCudaDriver { FailingCall = ++failing };
            Exception? failure = Record.Exception(() =>
            {
                using CudaDevice device = Open(driver);
                UseEverything(device);
            });
            if (driver.Calls.Count < failing) break;
            string call = driver.Calls[failing - 1];
            Assert.True(!driver.Live.Any(), $"call {failing}, {call}, failed; left: {string.Join(", ", driver.Live)}");
            Assert.True(failure is not null || IsQuiet(call), $"call {failing}, {call}, failed unseen");
        }
        Assert.True(failing > 40, $"only {failing} calls");
        Assert.Empty(driver.Live);

        // Giving back does not throw: the result would be the failure of something else.
        static bool IsQuiet(string call) => call.Contains("Destroy", StringComparison.Ordinal) || call.Contains("Free", StringComparison.Ordinal)
            || call is "cuModuleUnload" or "cuDevicePrimaryCtxRelease" or "cuCtxSynchronize";
    }

    [Fact]
    public void Launch_AllocatesNothing()
    {
        using CudaDevice device = Open(new FakeCudaDriver());
        CudaKernel kernel = AddValue.Load(device);
        using DeviceBuffer buffer = device.Upload<int>([1, 2, 3]);
        AddValue.Add(kernel, buffer.AsSpan<int>(), 1);

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++) AddValue.Add(kernel, buffer.AsSpan<int>(), i);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Launch_Refused_SaysWhat()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        CudaKernel kernel = AddValue.Load(device);
        driver.Fail("cuLaunchKernel", CUresult.OutOfMemory);

        var failure = Assert.Throws<CudaException>(() => kernel.Launch((3, 2), 64, new AddValueArgs(0x77, 5, 9), dynamicSharedBytes: 128));

        Assert.Equal((CUresult.OutOfMemory, "cuLaunchKernel"), (failure.Result, failure.Call));
        AssertContains(failure.Message, "cuLaunchKernel", "CUDA_ERROR_OUT_OF_MEMORY (2), out of memory", "add_value", "grid (3, 2, 1)", "block (64, 1, 1)",
            "128 bytes", "AddValueArgs", "Value = 5", "Count = 9");
    }

    [Fact]
    public void Fault_AtSynchronisation_NamesTheLastLaunches()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        CudaKernel kernel = AddValue.Load(device);
        for (int i = 0; i < 20; i++) kernel.Launch(1, 32, new AddValueArgs(0, i, 100 + i));
        driver.Fail("cuCtxSynchronize", CUresult.IllegalAddress);
        driver.FaultReport = "block 3, thread 7";

        string message = Assert.Throws<CudaException>(device.Synchronize).Message;

        AssertContains(message, "CUDA_ERROR_ILLEGAL_ADDRESS (700)", "last launches", "Count = 119", "Count = 112", "block 3, thread 7");
        Assert.DoesNotContain("Count = 111", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Launch_ArgumentsOfTheWrongSize_RunsNothing()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        CudaKernel kernel = AddValue.Load(device);

        var wrong = Assert.Throws<ArgumentException>(() => kernel.Launch(1, 32, 5L));
        AssertContains(wrong.Message, "argument struct of the wrong size", "Int64 has 8 bytes, the kernel expects 16");
        CudaKernel two = device.LoadModule(".version 8.4\n.entry two(.param .b8 p[8], .param .b8 q[8]) { }"u8).GetKernel("two");
        AssertContains(Assert.Throws<ArgumentException>(() => two.Launch(1, 32, 5L)).Message, "more than one parameter");
        Assert.Equal(0, driver.Launches);
    }

    [Fact]
    public void Launch_MuchSharedMemory_OptsInOnce()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        CudaKernel kernel = AddValue.Load(device);

        for (int i = 0; i < 3; i++) kernel.Launch(1, 32, default(AddValueArgs), dynamicSharedBytes: 100 * 1024);
        Assert.Single(driver.Calls, "cuFuncSetAttribute");
        var tooMuch = Assert.Throws<ArgumentException>(() => kernel.Launch(1, 32, default(AddValueArgs), dynamicSharedBytes: 164 * 1024));
        AssertContains(tooMuch.Message, "167936 bytes", "166912");
    }

    [Fact]
    public void LoadModule_Refused_SaysWhyAndWhatToDo()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        Assert.Contains("syntax error", Assert.Throws<CudaException>(() => device.LoadModule(".version 8.4\nmade.up"u8)).Message, StringComparison.Ordinal);

        driver.Fail("cuModuleLoadData", CUresult.UnsupportedPtxVersion);
        string message = Assert.Throws<CudaException>(() => device.LoadModule(".version 9.9\n.target sm_120a, debug\n"u8, "new.ptx")).Message;
        AssertContains(message, "new.ptx", "PTX 9.9", "target sm_120a", "compute capability 8.0", "driver of CUDA 12.8", "update the NVIDIA driver", "ptxas: line 1");
        Assert.Throws<CudaException>(() => device.LoadModule(AddValue.Image).GetKernel("other"));
    }

    [Fact]
    public void Allocate_NoRoom_SaysHowMuchIsFree()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        driver.Fail("cuMemAllocAsync", CUresult.OutOfMemory);

        var failure = Assert.ThrowsAny<OutOfMemoryException>(() => device.Allocate(DType.F32, 1_000_000));
        AssertContains(failure.Message, "4,000,000 bytes", "600 of 1,000 are free");
        Assert.Equal(0, device.AllocatedBytes);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Allocate_NoStreamOrder_TakesPlainMemory(bool claimsPools)
    {
        FakeCudaDriver driver = new() { HasPools = claimsPools };
        if (claimsPools) driver.Fail("cuMemAllocAsync", CUresult.NotSupported);
        using (CudaDevice device = Open(driver))
        {
            using DeviceBuffer buffer = device.Upload<int>([1, 2, 3]);
            Assert.Equal([1, 2, 3], buffer.AsSpan<int>().ToArray());
        }
        Assert.Contains("cuMemAlloc", driver.Calls);
        Assert.Contains("cuMemFree", driver.Calls);
        Assert.Empty(driver.Live);
    }

    [Fact]
    public void Upload_DoesNotWaitForTheDevice()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        using DeviceBuffer buffer = device.Allocate(DType.I32, 1000);
        for (int i = 0; i < 100; i++) buffer.AsSpan<int>().CopyFrom(new int[1000]);
        Assert.DoesNotContain(driver.Calls, call => call.Contains("Synchronize", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4_099)]
    [InlineData(100_003)]
    public void Upload_LargerThanTheRing_ArrivesWhole(int count)
    {
        using CudaDevice device = Device.OpenCuda(options: new CudaDeviceOptions { Driver = new FakeCudaDriver(), StagingBytes = 4096 });
        int[] values = [.. Enumerable.Range(7, count)];
        using DeviceBuffer buffer = device.Upload<int>(values);
        Assert.Equal(values, buffer.AsSpan<int>().ToArray());
    }

    [Fact]
    public unsafe void Context_OfTheCaller_IsPutBack()
    {
        FakeCudaDriver driver = new() { Devices = 2 };
        using CudaDevice first = Open(driver), second = Device.OpenCuda(1, new CudaDeviceOptions { Driver = driver });
        const nint Foreign = 0x999;
        driver.CtxSetCurrent(Foreign);
        using DeviceBuffer buffer = second.Upload<int>([1]);
        first.Synchronize();
        nint current;
        driver.CtxGetCurrent(&current);
        driver.CtxSetCurrent(0);
        Assert.Equal(Foreign, current);
    }

    [Fact]
    public void Graph_DoesNotCaptureMemory()
    {
        FakeCudaDriver driver = new();
        using CudaDevice device = Open(driver);
        DeviceBuffer buffer = device.Upload<int>([1]);
        foreach (Action action in (Action[])[
            () => device.Allocate(DType.I32, 1), () => buffer.AsSpan<int>().CopyFrom([2]), () => buffer.AsSpan<int>().ToArray()])
        {
            Assert.Contains("while a graph is captured", Assert.Throws<InvalidOperationException>(() => CudaGraph.Capture(device.Stream, action)).Message, StringComparison.Ordinal);
        }

        int before = driver.Calls.Count(call => call.StartsWith("cuMemFree", StringComparison.Ordinal)), within = -1;
        using CudaGraph graph = CudaGraph.Capture(device.Stream, () =>
        {
            buffer.Dispose();
            within = driver.Calls.Count(call => call.StartsWith("cuMemFree", StringComparison.Ordinal));
        });
        Assert.Equal(before, within);
        Assert.Equal(before + 1, driver.Calls.Count(call => call.StartsWith("cuMemFree", StringComparison.Ordinal)));
    }

    [Fact]
    public void Open_Unavailable_SaysWhy()
    {
        AssertContains(Refusal(new FakeCudaDriver { Version = 12020 }), "CUDA 12.2", "12.4 or newer", "update");
        AssertContains(Refusal(new FakeCudaDriver { Devices = 0 }), "no device");
        AssertContains(Refusal(new FakeCudaDriver { Devices = 2 }, ordinal: 2), "device 2", "has 2");
        FakeCudaDriver broken = new();
        broken.Fail("cuInit", CUresult.NoDevice);
        AssertContains(Refusal(broken), "cuInit", "nvidia-smi");
        var missing = Assert.Throws<CudaUnavailableException>(() => Device.OpenCuda(0, new CudaDeviceOptions { DriverLibrary = "/no/such/libcuda.so" }));
        AssertContains(missing.Message, "/no/such/libcuda.so", "cannot be loaded");
        Assert.Throws<ArgumentException>(() => Device.OpenCuda(-1));
    }

    private static CudaDevice Open(FakeCudaDriver driver) => Device.OpenCuda(0, new CudaDeviceOptions { Driver = driver });

    private static string Refusal(FakeCudaDriver driver, int ordinal = 0)
    {
        string message = Assert.Throws<CudaUnavailableException>(() => Device.OpenCuda(ordinal, new CudaDeviceOptions { Driver = driver })).Message;
        Assert.Empty(driver.Live);
        return message;
    }

    private static void UseEverything(CudaDevice device)
    {
        CudaKernel kernel = AddValue.Load(device);
        using DeviceBuffer buffer = device.Upload<int>([1, 2, 3]);
        DeviceSpan<int> values = buffer.AsSpan<int>();
        CudaStream stream = device.CreateStream();
        CudaEvent start = device.CreateEvent(), end = device.CreateEvent();
        start.Record();
        stream.Wait(start);
        AddValue.Add(kernel, values, 1, stream);
        stream.Clear(values);
        end.Record(stream);
        end.Synchronize();
        _ = end.IsDone && stream.IsDone;
        Assert.True(end.ElapsedMs(start) >= 0);
        CudaGraph graph = CudaGraph.Capture(stream, () => AddValue.Add(kernel, values, 1, stream));
        Assert.True(graph.TryUpdate(stream, () => AddValue.Add(kernel, values, 2, stream)));
        graph.Launch(stream);
        stream.Synchronize();
        kernel.Launch(1, 1, default(AddValueArgs), dynamicSharedBytes: 64 * 1024);
        _ = kernel.MaxBlocksPerMultiprocessor(64);
        _ = values.ToArray();
        device.Synchronize();
    }

    private static void AssertContains(string text, params string[] parts)
    {
        foreach (string part in parts) Assert.Contains(part, text, StringComparison.Ordinal);
    }
}
