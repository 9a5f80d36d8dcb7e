using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using ManagedCuda;
using ManagedCuda.BasicTypes;
using static ManagedCuda.DriverAPINativeMethods;

namespace KernelForge.ManagedCuda;

/// <summary>
/// The driver through ManagedCuda: contexts and modules by its classes, everything else, launches above all, by its raw bindings, which allocate nothing.
/// <see cref="Register"/> makes devices that are opened afterwards use it.
/// </summary>
public sealed unsafe class ManagedCudaDriver : ICudaDriver
{
    private const string LibraryName = "libcuda.so";

    private static string Library => OperatingSystem.IsWindows() ? "nvcuda.dll" : LibraryName;

    [ThreadStatic]
    private static nint[]? _parameters;

    private readonly Dictionary<int, Stack<PrimaryContext>> _contexts = [];

    private readonly void* _tensorMapEncodeTiled = (void*)NativeLibrary.GetExport(NativeLibrary.Load(Library), "cuTensorMapEncodeTiled");

    private ManagedCudaDriver()
    {
    }

    /// <inheritdoc/>
    public string Name => "ManagedCuda";

    /// <inheritdoc/>
    public string LibraryPath => Library;

    /// <inheritdoc/>
    public int Version
    {
        get
        {
            int version = 0;
            return cuDriverGetVersion(ref version) == CUResult.Success ? version : 0;
        }
    }

    /// <summary>Makes <see cref="Device.OpenCuda"/> and <see cref="Device.Default"/> prefer ManagedCuda.</summary>
    public static void Register() => CudaDrivers.Register("managedcuda", Open);

    /// <summary>Opens the driver of this machine.</summary>
    /// <exception cref="CudaUnavailableException">ManagedCuda would not find it.</exception>
    public static ManagedCudaDriver Open()
    {
        // ManagedCuda asks the loader for this name only, and names another library when that fails.
        if (!OperatingSystem.IsWindows() && !NativeLibrary.TryLoad(LibraryName, out _))
        {
            throw new CudaUnavailableException(
                $"ManagedCuda needs {LibraryName}, which the loader does not find; make a link of that name to libcuda.so.1, or set KERNELFORGE_DRIVER=direct");
        }
        return new ManagedCudaDriver();
    }

#pragma warning disable CS1591 // ICudaDriver says what the calls are.
    public CUresult Init(uint flags) => cuInit((CUInitializationFlags)flags).Result();

    public CUresult GetErrorName(CUresult result, byte** text) => ErrorHandling.cuGetErrorName((CUResult)result, ref *(nint*)text).Result();

    public CUresult GetErrorString(CUresult result, byte** text) => ErrorHandling.cuGetErrorString((CUResult)result, ref *(nint*)text).Result();

    public CUresult DeviceGetCount(int* count) => DeviceManagement.cuDeviceGetCount(ref *count).Result();

    public CUresult DeviceGet(int* device, int ordinal) => DeviceManagement.cuDeviceGet(ref *(CUdevice*)device, ordinal).Result();

    public CUresult DeviceGetName(byte* name, int length, int device)
    {
        byte[] text = new byte[length];
        CUResult result = DeviceManagement.cuDeviceGetName(text, length, Of(device));
        text.CopyTo(new Span<byte>(name, length));
        return result.Result();
    }

    public CUresult DeviceGetAttribute(int* value, CudaDeviceAttribute attribute, int device) =>
        DeviceManagement.cuDeviceGetAttribute(ref *value, (CUDeviceAttribute)attribute, Of(device)).Result();

    public CUresult DeviceTotalMem(nuint* bytes, int device) => DeviceManagement.cuDeviceTotalMem_v2(ref *(SizeT*)bytes, Of(device)).Result();

    public CUresult DevicePrimaryCtxRetain(nint* context, int device)
    {
        try
        {
            PrimaryContext retained = new(device);
            lock (_contexts)
            {
                if (!_contexts.TryGetValue(device, out Stack<PrimaryContext>? contexts)) _contexts.Add(device, contexts = []);
                contexts.Push(retained);
            }
            *context = retained.Context.Pointer;
            return CUresult.Success;
        }
        catch (global::ManagedCuda.CudaException failure)
        {
            return failure.CudaError.Result();
        }
    }

    public CUresult DevicePrimaryCtxRelease(int device)
    {
        lock (_contexts)
        {
            if (!_contexts.TryGetValue(device, out Stack<PrimaryContext>? contexts) || !contexts.TryPop(out var retained))
                return CUresult.InvalidContext;
            retained.Dispose();
            return CUresult.Success;
        }
    }

    public CUresult CtxGetCurrent(nint* context) => ContextManagement.cuCtxGetCurrent(ref *(CUcontext*)context).Result();

    public CUresult CtxSetCurrent(nint context) => ContextManagement.cuCtxSetCurrent(Of<CUcontext>(context)).Result();

    public CUresult CtxSynchronize() => ContextManagement.cuCtxSynchronize().Result();

    public CUresult ModuleLoadData(nint* module, byte* image, nuint imageBytes, byte* errorLog, int errorLogBytes)
    {
        PrimaryContext[] contexts;
        lock (_contexts) contexts = [.. _contexts.Values.SelectMany(retained => retained)];
        if (contexts.Length == 0) return CUresult.InvalidContext;
        using CudaJitOptionCollection options = new();
        CudaJOErrorLogBuffer log = new(errorLogBytes);
        options.Add(log);
        try
        {
            *module = contexts[0].LoadModulePTX(new ReadOnlySpan<byte>(image, checked((int)imageBytes)).ToArray(), options).Pointer;
            return CUresult.Success;
        }
        catch (global::ManagedCuda.CudaException failure)
        {
            Encoding.UTF8.GetBytes(log.Value.AsSpan(0, Math.Min(log.Value.Length, errorLogBytes / 4)), new Span<byte>(errorLog, errorLogBytes));
            return failure.CudaError.Result();
        }
        finally
        {
            log.FreeHandle();
        }
    }

    public CUresult ModuleUnload(nint module) => ModuleManagement.cuModuleUnload(Of<CUmodule>(module)).Result();

    public CUresult ModuleGetFunction(nint* function, nint module, byte* name) =>
        ModuleManagement.cuModuleGetFunction(ref *(CUfunction*)function, Of<CUmodule>(module), TextOf(name)).Result();

    public CUresult ModuleGetGlobal(nint* address, nuint* bytes, nint module, byte* name) =>
        ModuleManagement.cuModuleGetGlobal_v2(ref *(CUdeviceptr*)address, ref *(SizeT*)bytes, Of<CUmodule>(module), TextOf(name)).Result();

    public CUresult FuncGetAttribute(int* value, CudaFunctionAttribute attribute, nint function) =>
        FunctionManagement.cuFuncGetAttribute(ref *value, (CUFunctionAttribute)attribute, Of<CUfunction>(function)).Result();

    public CUresult FuncSetAttribute(nint function, CudaFunctionAttribute attribute, int value) =>
        FunctionManagement.cuFuncSetAttribute(Of<CUfunction>(function), (CUFunctionAttribute)attribute, value).Result();

    public CUresult FuncGetParamInfo(nint function, nuint index, nuint* offset, nuint* bytes)
    {
        try
        {
            return FunctionManagement.cuFuncGetParamInfo(Of<CUfunction>(function), index, ref *(SizeT*)offset, ref *(SizeT*)bytes).Result();
        }
        catch (EntryPointNotFoundException)
        {
            return CUresult.NotSupported;
        }
    }

    public CUresult OccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, nint function, int threads, nuint dynamicSharedBytes) =>
        Occupancy.cuOccupancyMaxActiveBlocksPerMultiprocessor(ref *blocks, Of<CUfunction>(function), threads, dynamicSharedBytes).Result();

    public CUresult MemGetInfo(nuint* free, nuint* total) => MemoryManagement.cuMemGetInfo_v2(ref *(SizeT*)free, ref *(SizeT*)total).Result();

    public CUresult MemAlloc(nint* address, nuint bytes) => MemoryManagement.cuMemAlloc_v2(ref *(CUdeviceptr*)address, bytes).Result();

    public CUresult MemFree(nint address) => MemoryManagement.cuMemFree_v2(At(address)).Result();

    public CUresult MemAllocAsync(nint* address, nuint bytes, nint stream) =>
        MemoryManagement.cuMemAllocAsync(ref *(CUdeviceptr*)address, bytes, Of<CUstream>(stream)).Result();

    public CUresult MemFreeAsync(nint address, nint stream) => MemoryManagement.cuMemFreeAsync(At(address), Of<CUstream>(stream)).Result();

    public CUresult MemAllocHost(void** address, nuint bytes) => MemoryManagement.cuMemAllocHost_v2(ref *(nint*)address, bytes).Result();

    public CUresult MemFreeHost(void* address) => MemoryManagement.cuMemFreeHost((nint)address).Result();

    public CUresult MemHostRegister(void* address, nuint bytes, uint flags) =>
        MemoryManagement.cuMemHostRegister((nint)address, bytes, (CUMemHostRegisterFlags)flags).Result();

    public CUresult MemHostUnregister(void* address) => MemoryManagement.cuMemHostUnregister((nint)address).Result();

    public CUresult MemcpyHtoDAsync(nint destination, void* source, nuint bytes, nint stream) =>
        AsynchronousMemcpy_v2.cuMemcpyHtoDAsync_v2(At(destination), (nint)source, bytes, Of<CUstream>(stream)).Result();

    public CUresult MemcpyDtoHAsync(void* destination, nint source, nuint bytes, nint stream) =>
        AsynchronousMemcpy_v2.cuMemcpyDtoHAsync_v2((nint)destination, At(source), bytes, Of<CUstream>(stream)).Result();

    public CUresult MemcpyDtoDAsync(nint destination, nint source, nuint bytes, nint stream) =>
        AsynchronousMemcpy_v2.cuMemcpyDtoDAsync_v2(At(destination), At(source), bytes, Of<CUstream>(stream)).Result();

    public CUresult MemsetD8Async(nint destination, byte value, nuint count, nint stream) =>
        MemsetAsync.cuMemsetD8Async(At(destination), value, count, Of<CUstream>(stream)).Result();

    public CUresult MemsetD32Async(nint destination, uint value, nuint count, nint stream) =>
        MemsetAsync.cuMemsetD32Async(At(destination), value, count, Of<CUstream>(stream)).Result();

    public CUresult StreamCreate(nint* stream, uint flags) => Streams.cuStreamCreate(ref *(CUstream*)stream, (CUStreamFlags)flags).Result();

    public CUresult StreamDestroy(nint stream) => Streams.cuStreamDestroy_v2(Of<CUstream>(stream)).Result();

    public CUresult StreamSynchronize(nint stream) => Streams.cuStreamSynchronize(Of<CUstream>(stream)).Result();

    public CUresult StreamQuery(nint stream) => Streams.cuStreamQuery(Of<CUstream>(stream)).Result();

    public CUresult StreamWaitEvent(nint stream, nint @event, uint flags) =>
        Streams.cuStreamWaitEvent(Of<CUstream>(stream), Of<CUevent>(@event), flags).Result();

    public CUresult EventCreate(nint* @event, uint flags) => Events.cuEventCreate(ref *(CUevent*)@event, (CUEventFlags)flags).Result();

    public CUresult EventDestroy(nint @event) => Events.cuEventDestroy_v2(Of<CUevent>(@event)).Result();

    public CUresult EventRecord(nint @event, nint stream) => Events.cuEventRecord(Of<CUevent>(@event), Of<CUstream>(stream)).Result();

    public CUresult EventQuery(nint @event) => Events.cuEventQuery(Of<CUevent>(@event)).Result();

    public CUresult EventSynchronize(nint @event) => Events.cuEventSynchronize(Of<CUevent>(@event)).Result();

    public CUresult EventElapsedTime(float* milliseconds, nint start, nint end) =>
        Events.cuEventElapsedTime(ref *milliseconds, Of<CUevent>(start), Of<CUevent>(end)).Result();

    /// <summary>By our own pointer into the same library: ManagedCuda's map is a class, which nothing keeps at a multiple of 64 bytes.</summary>
    public CUresult TensorMapEncodeTiled(
        CudaTensorMap* map, int type, uint rank, nint address, ulong* sizes, ulong* strides, uint* box, uint* elementStrides,
        int interleave, int swizzle, int promotion, int fill) =>
        ((delegate* unmanaged<CudaTensorMap*, int, uint, nint, ulong*, ulong*, uint*, uint*, int, int, int, int, CUresult>)_tensorMapEncodeTiled)(
            map, type, rank, address, sizes, strides, box, elementStrides, interleave, swizzle, promotion, fill);

    public CUresult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicSharedBytes, nint stream, void** parameters)
    {
        nint[] parameter = _parameters ??= new nint[1];
        parameter[0] = (nint)parameters[0];
        return Launch.cuLaunchKernel(
            Of<CUfunction>(function), gridX, gridY, gridZ, blockX, blockY, blockZ, dynamicSharedBytes, Of<CUstream>(stream), parameter, null).Result();
    }

    public CUresult StreamBeginCapture(nint stream, int mode) => Streams.cuStreamBeginCapture(Of<CUstream>(stream), (CUstreamCaptureMode)mode).Result();

    public CUresult StreamEndCapture(nint stream, nint* graph) => Streams.cuStreamEndCapture(Of<CUstream>(stream), ref *(CUgraph*)graph).Result();

    public CUresult GraphInstantiate(nint* instance, nint graph) =>
        GraphManagment.cuGraphInstantiate(ref *(CUgraphExec*)instance, Of<CUgraph>(graph), default).Result();

    public CUresult GraphExecUpdate(nint instance, nint graph)
    {
        CUgraphExecUpdateResultInfo info = default;
        return GraphManagment.cuGraphExecUpdate(Of<CUgraphExec>(instance), Of<CUgraph>(graph), ref info).Result();
    }

    public CUresult GraphLaunch(nint instance, nint stream) => GraphManagment.cuGraphLaunch(Of<CUgraphExec>(instance), Of<CUstream>(stream)).Result();

    public CUresult GraphExecDestroy(nint instance) => GraphManagment.cuGraphExecDestroy(Of<CUgraphExec>(instance)).Result();

    public CUresult GraphDestroy(nint graph) => GraphManagment.cuGraphDestroy(Of<CUgraph>(graph)).Result();
#pragma warning restore CS1591

    /// <summary>A handle as the struct around a pointer that ManagedCuda has for it.</summary>
    private static T Of<T>(nint handle) where T : unmanaged => Unsafe.BitCast<nint, T>(handle);

    private static CUdevice Of(int device) => Unsafe.BitCast<int, CUdevice>(device);

    private static CUdeviceptr At(nint address) => new((SizeT)(nuint)address);

    private static string TextOf(byte* text) => Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));
}
