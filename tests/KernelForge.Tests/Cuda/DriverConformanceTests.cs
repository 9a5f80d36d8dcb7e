using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Tests.Cuda;

/// <summary>What every provider of driver calls does alike: the same calls, the same results, the same error codes.</summary>
public abstract unsafe class DriverConformanceTests : IDisposable
{
    private const int Count = 100;

    private readonly Lazy<nint> _context;

    /// <param name="driver">The subject.</param>
    /// <param name="ordinal">A device of it.</param>
    /// <param name="runsKernels">Whether launched kernels do something.</param>
    private protected DriverConformanceTests(Func<ICudaDriver> driver, int ordinal, bool runsKernels)
    {
        Driver = driver();
        Ordinal = ordinal;
        RunsKernels = runsKernels;
        _context = new Lazy<nint>(Retain);
        Ok(Driver.CtxSetCurrent(_context.Value));
    }

    protected ICudaDriver Driver { get; }

    protected int Ordinal { get; }

    protected bool RunsKernels { get; }

    public void Dispose()
    {
        Ok(Driver.CtxSetCurrent(0));
        Ok(Driver.DevicePrimaryCtxRelease(Device()));
        GC.SuppressFinalize(this);
    }

    [ProviderFact]
    public void Driver_IsOfThePromisedVersion() => Assert.True(Driver.Version >= CudaDrivers.MinVersion, $"{Driver.Version}");

    [ProviderFact]
    public void Devices_HaveNamesAndAttributes()
    {
        int count, major, optin;
        Ok(Driver.DeviceGetCount(&count));
        Assert.True(count > Ordinal);
        byte* name = stackalloc byte[256];
        Ok(Driver.DeviceGetName(name, 256, Device()));
        Assert.NotEqual(0, name[0]);
        Ok(Driver.DeviceGetAttribute(&major, CudaDeviceAttribute.ComputeCapabilityMajor, Device()));
        Ok(Driver.DeviceGetAttribute(&optin, CudaDeviceAttribute.MaxSharedMemoryPerBlockOptin, Device()));
        Assert.True(major >= 8 && optin > CudaDevice.PlainSharedBytes, $"{major}, {optin}");
    }

    [ProviderFact]
    public void DeviceGet_NoSuchDevice_IsInvalidDevice()
    {
        int device;
        Assert.Equal(CUresult.InvalidDevice, Driver.DeviceGet(&device, 99));
    }

    [ProviderFact]
    public void ErrorNames_AreTheDrivers()
    {
        byte* name;
        Ok(Driver.GetErrorName(CUresult.OutOfMemory, &name));
        Assert.Equal("CUDA_ERROR_OUT_OF_MEMORY", Encoding.ASCII.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name)));
        Assert.Equal(CUresult.InvalidValue, Driver.GetErrorName((CUresult)12345, &name));
    }

    [ProviderFact]
    public void Context_RetainedTwice_IsTheSame()
    {
        nint again, current;
        Ok(Driver.DevicePrimaryCtxRetain(&again, Device()));
        Ok(Driver.CtxGetCurrent(&current));
        Assert.Equal(_context.Value, again);
        Assert.Equal(again, current);
        Ok(Driver.DevicePrimaryCtxRelease(Device()));
    }

    [ProviderFact]
    public void NoContext_IsInvalidContext()
    {
        nint address;
        Ok(Driver.CtxSetCurrent(0));
        CUresult result = Driver.MemAlloc(&address, 16);
        Ok(Driver.CtxSetCurrent(_context.Value));
        Assert.Equal(CUresult.InvalidContext, result);
    }

    [ProviderFact]
    public void Copies_GoThereAndBack()
    {
        int[] values = [.. Enumerable.Range(1, Count)], back = new int[Count];
        nint stream = Stream(), first, second;
        nuint bytes = Count * sizeof(int);
        Ok(Driver.MemAlloc(&first, bytes));
        Ok(Driver.MemAllocAsync(&second, bytes, stream));
        fixed (int* source = values, target = back)
        {
            Ok(Driver.MemcpyHtoDAsync(first, source, bytes, stream));
            Ok(Driver.MemcpyDtoDAsync(second, first, bytes, stream));
            Ok(Driver.MemsetD8Async(second, 0xFF, 4, stream));
            Ok(Driver.MemsetD32Async(second + 4, 7, 1, stream));
            Ok(Driver.MemcpyDtoHAsync(target, second, bytes, stream));
            Ok(Driver.StreamSynchronize(stream));
        }
        Assert.Equal([-1, 7, .. values[2..]], back);
        Ok(Driver.MemFreeAsync(second, stream));
        Ok(Driver.MemFree(first));
        Ok(Driver.StreamDestroy(stream));
    }

    [ProviderFact]
    public void Memory_WrongArguments_AreInvalidValues()
    {
        nint address;
        Assert.Equal(CUresult.InvalidValue, Driver.MemAlloc(&address, 0));
        Assert.Equal(CUresult.InvalidValue, Driver.MemFree(0x123));
    }

    [ProviderFact]
    public void MemGetInfo_FreeIsAPartOfTotal()
    {
        nuint free, total;
        Ok(Driver.MemGetInfo(&free, &total));
        Assert.InRange(free, (nuint)1, total);
    }

    [ProviderFact]
    public void HostMemory_PinnedAndRegistered()
    {
        void* pinned, plain = NativeMemory.AlignedAlloc(8192, 4096);
        Ok(Driver.MemAllocHost(&pinned, 4096));
        new Span<byte>(pinned, 4096).Fill(1);
        Ok(Driver.MemFreeHost(pinned));
        Ok(Driver.MemHostRegister(plain, 8192, 0));
        Assert.Equal(CUresult.HostMemoryAlreadyRegistered, Driver.MemHostRegister(plain, 8192, 0));
        Ok(Driver.MemHostUnregister(plain));
        Assert.Equal(CUresult.HostMemoryNotRegistered, Driver.MemHostUnregister(plain));
        NativeMemory.AlignedFree(plain);
    }

    [ProviderFact]
    public void Events_OrderAndMeasure()
    {
        nint stream = Stream(), other = Stream(), start, end;
        float milliseconds;
        Ok(Driver.EventCreate(&start, 0));
        Ok(Driver.EventCreate(&end, 0));
        Assert.Equal(CUresult.InvalidHandle, Driver.EventElapsedTime(&milliseconds, start, end));
        Ok(Driver.EventRecord(start, stream));
        Ok(Driver.StreamWaitEvent(other, start, 0));
        Ok(Driver.EventRecord(end, other));
        Ok(Driver.EventSynchronize(end));
        Ok(Driver.EventQuery(end));
        Ok(Driver.StreamQuery(other));
        Ok(Driver.EventElapsedTime(&milliseconds, start, end));
        Assert.True(milliseconds >= 0);
        Ok(Driver.EventDestroy(start));
        Ok(Driver.EventDestroy(end));
        Ok(Driver.StreamDestroy(other));
        Ok(Driver.StreamDestroy(stream));
    }

    [ProviderFact]
    public void Module_ThatCannotBeCompiled_IsInvalidPtxWithALog()
    {
        byte[] log = new byte[1024];
        Assert.Equal(CUresult.InvalidPtx, TryLoad(AddValue.Text.Replace("add.s64", "made.up", StringComparison.Ordinal), log, out _));
        Assert.NotEqual(0, log[0]);
        Assert.Equal(CUresult.InvalidImage, TryLoad("this is no PTX", log, out _));
    }

    [ProviderFact]
    public void Module_FunctionsAndTheirParameters()
    {
        (nint module, nint function) = Load();
        nint missing;
        nuint offset, bytes;
        int threads, blocks;
        fixed (byte* name = "no_such_kernel\0"u8) Assert.Equal(CUresult.NotFound, Driver.ModuleGetFunction(&missing, module, name));
        Ok(Driver.FuncGetAttribute(&threads, CudaFunctionAttribute.MaxThreadsPerBlock, function));
        Assert.InRange(threads, 64, 1024);
        CUresult result = Driver.FuncGetParamInfo(function, 0, &offset, &bytes);
        if (result != CUresult.NotSupported)
        {
            Ok(result);
            Assert.Equal((nuint)sizeof(AddValueArgs), bytes);
            Assert.Equal(CUresult.InvalidValue, Driver.FuncGetParamInfo(function, 1, &offset, &bytes));
        }
        Ok(Driver.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 64, 0));
        Assert.True(blocks > 0);
        Ok(Driver.FuncSetAttribute(function, CudaFunctionAttribute.MaxDynamicSharedSizeBytes, 64 * 1024));
        Ok(Driver.ModuleUnload(module));
    }

    [ProviderFact]
    public void Launch_RunsWithItsArguments()
    {
        (nint module, nint function) = Load();
        nint stream = Stream(), memory = Zeros(stream);
        Ok(Launch(function, 2, 64, stream, new AddValueArgs(memory, 5, Count)));
        Assert.Equal(RunsKernels ? 5 : 0, ReadFirst(memory, stream));
        Assert.Equal(RunsKernels ? 5 : 0, ReadFirst(memory + (Count - 1) * sizeof(int), stream)); // of the second block
        Ok(Driver.MemFree(memory));
        Ok(Driver.ModuleUnload(module));
        Ok(Driver.StreamDestroy(stream));
    }

    [ProviderFact]
    public void Launch_ImpossibleShapes_AreInvalidValues()
    {
        (nint module, nint function) = Load();
        nint stream = Stream();
        Assert.Equal(CUresult.InvalidValue, Launch(function, 0, 64, stream, default));
        Assert.Equal(CUresult.InvalidValue, Launch(function, 1, 0, stream, default));
        Assert.Equal(CUresult.InvalidValue, Launch(function, 1, 2048, stream, default));
        Ok(Driver.ModuleUnload(module));
        Ok(Driver.StreamDestroy(stream));
    }

    [ProviderFact]
    public void Graph_RunsWhenLaunchedAndFollowsUpdates()
    {
        nint stream = Stream(), memory = Zeros(stream), instance;
        Ok(Driver.StreamSynchronize(stream));
        nint graph = Capture(stream, () => Driver.MemsetD32Async(memory, 1, Count, stream));
        Ok(Driver.GraphInstantiate(&instance, graph));
        Ok(Driver.GraphDestroy(graph));
        Assert.Equal(0, ReadFirst(memory, stream));
        Ok(Driver.GraphLaunch(instance, stream));
        Assert.Equal(1, ReadFirst(memory, stream));

        graph = Capture(stream, () => Driver.MemsetD32Async(memory, 2, Count, stream));
        Ok(Driver.GraphExecUpdate(instance, graph));
        Ok(Driver.GraphDestroy(graph));
        Ok(Driver.GraphLaunch(instance, stream));
        Assert.Equal(2, ReadFirst(memory, stream));

        graph = Capture(stream, () => Driver.MemsetD32Async(memory, 3, 1, stream) | Driver.MemsetD32Async(memory, 4, 1, stream));
        Assert.Equal(CUresult.GraphExecUpdateFailure, Driver.GraphExecUpdate(instance, graph));
        Ok(Driver.GraphDestroy(graph));
        Ok(Driver.GraphExecDestroy(instance));
        Ok(Driver.MemFree(memory));
        Ok(Driver.StreamDestroy(stream));
    }

    [ProviderFact]
    public void Capture_DoesNotWait()
    {
        nint stream = Stream(), graph = 0;
        Ok(Driver.StreamBeginCapture(stream, 1));
        Assert.Equal(CUresult.StreamCaptureUnsupported, Driver.StreamSynchronize(stream));
        _ = Driver.StreamEndCapture(stream, &graph);
        if (graph != 0) Ok(Driver.GraphDestroy(graph));
        Ok(Driver.StreamDestroy(stream));
    }

    private static void Ok(CUresult result) => Assert.Equal(CUresult.Success, result);

    private nint Retain()
    {
        nint context;
        Ok(Driver.Init(0));
        Ok(Driver.DevicePrimaryCtxRetain(&context, Device()));
        return context;
    }

    private int Device()
    {
        int device;
        Ok(Driver.DeviceGet(&device, Ordinal));
        return device;
    }

    private nint Stream()
    {
        nint stream;
        Ok(Driver.StreamCreate(&stream, 1));
        return stream;
    }

    private nint Zeros(nint stream)
    {
        nint memory;
        Ok(Driver.MemAlloc(&memory, Count * sizeof(int)));
        Ok(Driver.MemsetD32Async(memory, 0, Count, stream));
        return memory;
    }

    private int ReadFirst(nint memory, nint stream)
    {
        int value;
        Ok(Driver.MemcpyDtoHAsync(&value, memory, sizeof(int), stream));
        Ok(Driver.StreamSynchronize(stream));
        return value;
    }

    private nint Capture(nint stream, Func<CUresult> record)
    {
        nint graph;
        Ok(Driver.StreamBeginCapture(stream, 1));
        Ok(record());
        Ok(Driver.StreamEndCapture(stream, &graph));
        return graph;
    }

    [ProviderFact]
    public void TensorMap_OfGoodArguments_IsMade_OfBadOnesIsInvalidValue()
    {
        int major;
        Ok(Driver.DeviceGetAttribute(&major, CudaDeviceAttribute.ComputeCapabilityMajor, Device()));
        if (major < 9) return;
        nint address;
        Ok(Driver.MemAlloc(&address, 64 * 100 * 2));
        var good = new TensorMaps.Arguments { Address = address };

        Ok(TensorMaps.TryEncode(Driver, good, out _));

        Assert.Equal(CUresult.InvalidValue, TensorMaps.TryEncode(Driver, good with { Address = address + 8 }, out _));
        Assert.Equal(CUresult.InvalidValue, TensorMaps.TryEncode(Driver, good with { Sizes = [], Strides = [], Box = [] }, out _));
        Ok(Driver.MemFree(address));
    }

    private (nint Module, nint Function) Load()
    {
        byte[] log = new byte[1024];
        CUresult result = TryLoad(AddValue.Text, log, out nint module);
        Assert.True(result == CUresult.Success, $"{result}: {Encoding.UTF8.GetString(log)}");
        nint function;
        fixed (byte* name = "add_value\0"u8) Ok(Driver.ModuleGetFunction(&function, module, name));
        return (module, function);
    }

    private CUresult TryLoad(string ptx, byte[] log, out nint module)
    {
        byte[] image = [.. Encoding.ASCII.GetBytes(ptx), 0];
        fixed (byte* start = image, text = log)
        fixed (nint* target = &module)
            return Driver.ModuleLoadData(target, start, (nuint)image.Length, text, log.Length);
    }

    private CUresult Launch(nint function, uint blocks, uint threads, nint stream, AddValueArgs args)
    {
        void* parameter = &args;
        return Driver.LaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, &parameter);
    }
}

[Provider("fake")]
public sealed class FakeDriverConformanceTests() : DriverConformanceTests(() => new FakeCudaDriver(), ordinal: 0, runsKernels: false);

[Provider("emulated-sm80")]
public sealed class EmulatedSm80DriverConformanceTests() : DriverConformanceTests(() => CudaDrivers.OpenLibrary(Emulator.Path), ordinal: 0, runsKernels: true);

[Provider("emulated-sm90")]
public sealed class EmulatedSm90DriverConformanceTests() : DriverConformanceTests(() => CudaDrivers.OpenLibrary(Emulator.Path), ordinal: 1, runsKernels: true);

[Provider("cuda")]
public sealed class GpuDriverConformanceTests() : DriverConformanceTests(() => CudaDrivers.Open(new CudaDeviceOptions()), ordinal: 0, runsKernels: true);
