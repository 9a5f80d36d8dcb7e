using System.Text;

namespace KernelForge.Cuda;

/// <summary>
/// Every call is a pointer into one library, so that several (a real driver and the emulator) can be open in one process. A pair of lines per call: its
/// address, and the call.
/// </summary>
internal sealed unsafe class DirectCudaDriver(DriverLibrary library) : ICudaDriver
{
    private const int ReportBytes = 16 * 1024;

    private readonly void* _driverGetVersion = library.Find("cuDriverGetVersion");
    private readonly void* _emulatorReport = library.FindOptional("kfemu_report");

    public string Name => "direct";

    public string LibraryPath => library.Path;

    public int Version
    {
        get
        {
            int version;
            return ((delegate* unmanaged<int*, CUresult>)_driverGetVersion)(&version) == CUresult.Success ? version : 0;
        }
    }

    /// <summary>The emulator says which thread did what on which source line.</summary>
    public string? FaultReport
    {
        get
        {
            if (_emulatorReport is null) return null;
            byte[] text = new byte[ReportBytes];
            fixed (byte* start = text)
                ((delegate* unmanaged<byte*, int, int>)_emulatorReport)(start, text.Length);
            int length = Array.IndexOf(text, (byte)0);
            return length == 0 ? null : Encoding.UTF8.GetString(text, 0, length < 0 ? text.Length : length);
        }
    }

    private readonly void* _init = library.Find("cuInit");
    public CUresult Init(uint flags) => ((delegate* unmanaged<uint, CUresult>)_init)(flags);

    private readonly void* _getErrorName = library.Find("cuGetErrorName");
    public CUresult GetErrorName(CUresult result, byte** text) => ((delegate* unmanaged<CUresult, byte**, CUresult>)_getErrorName)(result, text);

    private readonly void* _getErrorString = library.Find("cuGetErrorString");
    public CUresult GetErrorString(CUresult result, byte** text) => ((delegate* unmanaged<CUresult, byte**, CUresult>)_getErrorString)(result, text);

    private readonly void* _deviceGetCount = library.Find("cuDeviceGetCount");
    public CUresult DeviceGetCount(int* count) => ((delegate* unmanaged<int*, CUresult>)_deviceGetCount)(count);

    private readonly void* _deviceGet = library.Find("cuDeviceGet");
    public CUresult DeviceGet(int* device, int ordinal) => ((delegate* unmanaged<int*, int, CUresult>)_deviceGet)(device, ordinal);

    private readonly void* _deviceGetName = library.Find("cuDeviceGetName");
    public CUresult DeviceGetName(byte* name, int length, int device) =>
        ((delegate* unmanaged<byte*, int, int, CUresult>)_deviceGetName)(name, length, device);

    private readonly void* _deviceGetAttribute = library.Find("cuDeviceGetAttribute");
    public CUresult DeviceGetAttribute(int* value, CudaDeviceAttribute attribute, int device) =>
        ((delegate* unmanaged<int*, CudaDeviceAttribute, int, CUresult>)_deviceGetAttribute)(value, attribute, device);

    private readonly void* _deviceTotalMem = library.Find("cuDeviceTotalMem_v2");
    public CUresult DeviceTotalMem(nuint* bytes, int device) => ((delegate* unmanaged<nuint*, int, CUresult>)_deviceTotalMem)(bytes, device);

    private readonly void* _devicePrimaryCtxRetain = library.Find("cuDevicePrimaryCtxRetain");
    public CUresult DevicePrimaryCtxRetain(nint* context, int device) =>
        ((delegate* unmanaged<nint*, int, CUresult>)_devicePrimaryCtxRetain)(context, device);

    private readonly void* _devicePrimaryCtxRelease = library.Find("cuDevicePrimaryCtxRelease_v2");
    public CUresult DevicePrimaryCtxRelease(int device) => ((delegate* unmanaged<int, CUresult>)_devicePrimaryCtxRelease)(device);

    private readonly void* _ctxGetCurrent = library.Find("cuCtxGetCurrent");
    public CUresult CtxGetCurrent(nint* context) => ((delegate* unmanaged<nint*, CUresult>)_ctxGetCurrent)(context);

    private readonly void* _ctxSetCurrent = library.Find("cuCtxSetCurrent");
    public CUresult CtxSetCurrent(nint context) => ((delegate* unmanaged<nint, CUresult>)_ctxSetCurrent)(context);

    private readonly void* _ctxSynchronize = library.Find("cuCtxSynchronize");
    public CUresult CtxSynchronize() => ((delegate* unmanaged<CUresult>)_ctxSynchronize)();

    private readonly void* _moduleLoadData = library.Find("cuModuleLoadDataEx");

    public CUresult ModuleLoadData(nint* module, byte* image, nuint imageBytes, byte* errorLog, int errorLogBytes)
    {
        const int ErrorLogBuffer = 5, ErrorLogBufferSizeBytes = 6; // CU_JIT_...
        int* options = stackalloc int[] { ErrorLogBuffer, ErrorLogBufferSizeBytes };
        void** values = stackalloc void*[] { errorLog, (void*)errorLogBytes };
        return ((delegate* unmanaged<nint*, byte*, uint, int*, void**, CUresult>)_moduleLoadData)(module, image, 2, options, values);
    }

    private readonly void* _moduleUnload = library.Find("cuModuleUnload");
    public CUresult ModuleUnload(nint module) => ((delegate* unmanaged<nint, CUresult>)_moduleUnload)(module);

    private readonly void* _moduleGetFunction = library.Find("cuModuleGetFunction");
    public CUresult ModuleGetFunction(nint* function, nint module, byte* name) =>
        ((delegate* unmanaged<nint*, nint, byte*, CUresult>)_moduleGetFunction)(function, module, name);

    private readonly void* _moduleGetGlobal = library.Find("cuModuleGetGlobal_v2");
    public CUresult ModuleGetGlobal(nint* address, nuint* bytes, nint module, byte* name) =>
        ((delegate* unmanaged<nint*, nuint*, nint, byte*, CUresult>)_moduleGetGlobal)(address, bytes, module, name);

    private readonly void* _funcGetAttribute = library.Find("cuFuncGetAttribute");
    public CUresult FuncGetAttribute(int* value, CudaFunctionAttribute attribute, nint function) =>
        ((delegate* unmanaged<int*, CudaFunctionAttribute, nint, CUresult>)_funcGetAttribute)(value, attribute, function);

    private readonly void* _funcSetAttribute = library.Find("cuFuncSetAttribute");
    public CUresult FuncSetAttribute(nint function, CudaFunctionAttribute attribute, int value) =>
        ((delegate* unmanaged<nint, CudaFunctionAttribute, int, CUresult>)_funcSetAttribute)(function, attribute, value);

    private readonly void* _funcGetParamInfo = library.FindOptional("cuFuncGetParamInfo");
    public CUresult FuncGetParamInfo(nint function, nuint index, nuint* offset, nuint* bytes) =>
        _funcGetParamInfo is null ? CUresult.NotSupported : ((delegate* unmanaged<nint, nuint, nuint*, nuint*, CUresult>)_funcGetParamInfo)(function, index, offset, bytes);

    private readonly void* _occupancyMaxActiveBlocksPerMultiprocessor = library.Find("cuOccupancyMaxActiveBlocksPerMultiprocessor");
    public CUresult OccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, nint function, int threads, nuint dynamicSharedBytes) =>
        ((delegate* unmanaged<int*, nint, int, nuint, CUresult>)_occupancyMaxActiveBlocksPerMultiprocessor)(blocks, function, threads, dynamicSharedBytes);

    private readonly void* _memGetInfo = library.Find("cuMemGetInfo_v2");
    public CUresult MemGetInfo(nuint* free, nuint* total) => ((delegate* unmanaged<nuint*, nuint*, CUresult>)_memGetInfo)(free, total);

    private readonly void* _memAlloc = library.Find("cuMemAlloc_v2");
    public CUresult MemAlloc(nint* address, nuint bytes) => ((delegate* unmanaged<nint*, nuint, CUresult>)_memAlloc)(address, bytes);

    private readonly void* _memFree = library.Find("cuMemFree_v2");
    public CUresult MemFree(nint address) => ((delegate* unmanaged<nint, CUresult>)_memFree)(address);

    private readonly void* _memAllocAsync = library.FindOptional("cuMemAllocAsync");
    public CUresult MemAllocAsync(nint* address, nuint bytes, nint stream) =>
        _memAllocAsync is null ? CUresult.NotSupported : ((delegate* unmanaged<nint*, nuint, nint, CUresult>)_memAllocAsync)(address, bytes, stream);

    private readonly void* _memFreeAsync = library.FindOptional("cuMemFreeAsync");
    public CUresult MemFreeAsync(nint address, nint stream) =>
        _memFreeAsync is null ? CUresult.NotSupported : ((delegate* unmanaged<nint, nint, CUresult>)_memFreeAsync)(address, stream);

    private readonly void* _memAllocHost = library.Find("cuMemAllocHost_v2");
    public CUresult MemAllocHost(void** address, nuint bytes) => ((delegate* unmanaged<void**, nuint, CUresult>)_memAllocHost)(address, bytes);

    private readonly void* _memFreeHost = library.Find("cuMemFreeHost");
    public CUresult MemFreeHost(void* address) => ((delegate* unmanaged<void*, CUresult>)_memFreeHost)(address);

    private readonly void* _memHostRegister = library.Find("cuMemHostRegister_v2");
    public CUresult MemHostRegister(void* address, nuint bytes, uint flags) =>
        ((delegate* unmanaged<void*, nuint, uint, CUresult>)_memHostRegister)(address, bytes, flags);

    private readonly void* _memHostUnregister = library.Find("cuMemHostUnregister");
    public CUresult MemHostUnregister(void* address) => ((delegate* unmanaged<void*, CUresult>)_memHostUnregister)(address);

    private readonly void* _memcpyHtoDAsync = library.Find("cuMemcpyHtoDAsync_v2");
    public CUresult MemcpyHtoDAsync(nint destination, void* source, nuint bytes, nint stream) =>
        ((delegate* unmanaged<nint, void*, nuint, nint, CUresult>)_memcpyHtoDAsync)(destination, source, bytes, stream);

    private readonly void* _memcpyDtoHAsync = library.Find("cuMemcpyDtoHAsync_v2");
    public CUresult MemcpyDtoHAsync(void* destination, nint source, nuint bytes, nint stream) =>
        ((delegate* unmanaged<void*, nint, nuint, nint, CUresult>)_memcpyDtoHAsync)(destination, source, bytes, stream);

    private readonly void* _memcpyDtoDAsync = library.Find("cuMemcpyDtoDAsync_v2");
    public CUresult MemcpyDtoDAsync(nint destination, nint source, nuint bytes, nint stream) =>
        ((delegate* unmanaged<nint, nint, nuint, nint, CUresult>)_memcpyDtoDAsync)(destination, source, bytes, stream);

    private readonly void* _memsetD8Async = library.Find("cuMemsetD8Async");
    public CUresult MemsetD8Async(nint destination, byte value, nuint count, nint stream) =>
        ((delegate* unmanaged<nint, byte, nuint, nint, CUresult>)_memsetD8Async)(destination, value, count, stream);

    private readonly void* _memsetD32Async = library.Find("cuMemsetD32Async");
    public CUresult MemsetD32Async(nint destination, uint value, nuint count, nint stream) =>
        ((delegate* unmanaged<nint, uint, nuint, nint, CUresult>)_memsetD32Async)(destination, value, count, stream);

    private readonly void* _streamCreate = library.Find("cuStreamCreate");
    public CUresult StreamCreate(nint* stream, uint flags) => ((delegate* unmanaged<nint*, uint, CUresult>)_streamCreate)(stream, flags);

    private readonly void* _streamDestroy = library.Find("cuStreamDestroy_v2");
    public CUresult StreamDestroy(nint stream) => ((delegate* unmanaged<nint, CUresult>)_streamDestroy)(stream);

    private readonly void* _streamSynchronize = library.Find("cuStreamSynchronize");
    public CUresult StreamSynchronize(nint stream) => ((delegate* unmanaged<nint, CUresult>)_streamSynchronize)(stream);

    private readonly void* _streamQuery = library.Find("cuStreamQuery");
    public CUresult StreamQuery(nint stream) => ((delegate* unmanaged<nint, CUresult>)_streamQuery)(stream);

    private readonly void* _streamWaitEvent = library.Find("cuStreamWaitEvent");
    public CUresult StreamWaitEvent(nint stream, nint @event, uint flags) =>
        ((delegate* unmanaged<nint, nint, uint, CUresult>)_streamWaitEvent)(stream, @event, flags);

    private readonly void* _eventCreate = library.Find("cuEventCreate");
    public CUresult EventCreate(nint* @event, uint flags) => ((delegate* unmanaged<nint*, uint, CUresult>)_eventCreate)(@event, flags);

    private readonly void* _eventDestroy = library.Find("cuEventDestroy_v2");
    public CUresult EventDestroy(nint @event) => ((delegate* unmanaged<nint, CUresult>)_eventDestroy)(@event);

    private readonly void* _eventRecord = library.Find("cuEventRecord");
    public CUresult EventRecord(nint @event, nint stream) => ((delegate* unmanaged<nint, nint, CUresult>)_eventRecord)(@event, stream);

    private readonly void* _eventQuery = library.Find("cuEventQuery");
    public CUresult EventQuery(nint @event) => ((delegate* unmanaged<nint, CUresult>)_eventQuery)(@event);

    private readonly void* _eventSynchronize = library.Find("cuEventSynchronize");
    public CUresult EventSynchronize(nint @event) => ((delegate* unmanaged<nint, CUresult>)_eventSynchronize)(@event);

    private readonly void* _eventElapsedTime = library.Find("cuEventElapsedTime");
    public CUresult EventElapsedTime(float* milliseconds, nint start, nint end) =>
        ((delegate* unmanaged<float*, nint, nint, CUresult>)_eventElapsedTime)(milliseconds, start, end);

    private readonly void* _tensorMapEncodeTiled = library.Find("cuTensorMapEncodeTiled");
    public CUresult TensorMapEncodeTiled(
        CudaTensorMap* map, int type, uint rank, nint address, ulong* sizes, ulong* strides, uint* box, uint* elementStrides,
        int interleave, int swizzle, int promotion, int fill) =>
        ((delegate* unmanaged<CudaTensorMap*, int, uint, nint, ulong*, ulong*, uint*, uint*, int, int, int, int, CUresult>)_tensorMapEncodeTiled)(
            map, type, rank, address, sizes, strides, box, elementStrides, interleave, swizzle, promotion, fill);

    private readonly void* _launchKernel = library.Find("cuLaunchKernel");
    public CUresult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicSharedBytes, nint stream, void** parameters) =>
        ((delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, CUresult>)_launchKernel)(
            function, gridX, gridY, gridZ, blockX, blockY, blockZ, dynamicSharedBytes, stream, parameters, null);

    private readonly void* _streamBeginCapture = library.Find("cuStreamBeginCapture_v2");
    public CUresult StreamBeginCapture(nint stream, int mode) => ((delegate* unmanaged<nint, int, CUresult>)_streamBeginCapture)(stream, mode);

    private readonly void* _streamEndCapture = library.Find("cuStreamEndCapture");
    public CUresult StreamEndCapture(nint stream, nint* graph) => ((delegate* unmanaged<nint, nint*, CUresult>)_streamEndCapture)(stream, graph);

    private readonly void* _graphInstantiate = library.Find("cuGraphInstantiateWithFlags");
    public CUresult GraphInstantiate(nint* instance, nint graph) => ((delegate* unmanaged<nint*, nint, ulong, CUresult>)_graphInstantiate)(instance, graph, 0);

    private readonly void* _graphExecUpdate = library.Find("cuGraphExecUpdate_v2");

    public CUresult GraphExecUpdate(nint instance, nint graph)
    {
        nint* info = stackalloc nint[3]; // CUgraphExecUpdateResultInfo: why not, and two nodes
        return ((delegate* unmanaged<nint, nint, nint*, CUresult>)_graphExecUpdate)(instance, graph, info);
    }

    private readonly void* _graphLaunch = library.Find("cuGraphLaunch");
    public CUresult GraphLaunch(nint instance, nint stream) => ((delegate* unmanaged<nint, nint, CUresult>)_graphLaunch)(instance, stream);

    private readonly void* _graphExecDestroy = library.Find("cuGraphExecDestroy");
    public CUresult GraphExecDestroy(nint instance) => ((delegate* unmanaged<nint, CUresult>)_graphExecDestroy)(instance);

    private readonly void* _graphDestroy = library.Find("cuGraphDestroy");
    public CUresult GraphDestroy(nint graph) => ((delegate* unmanaged<nint, CUresult>)_graphDestroy)(graph);
}
