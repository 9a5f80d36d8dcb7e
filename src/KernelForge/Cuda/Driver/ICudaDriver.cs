namespace KernelForge;

/// <summary>
/// The calls of the CUDA driver that this library makes, one method each, named as the call without its "cu". Handles are <see cref="nint"/>,
/// everything is blittable, nothing throws. Everything richer is built once above it, so that a provider is a page of one-line methods:
/// the library itself (<see cref="CudaDrivers.OpenLibrary"/>), the adapter for ManagedCuda, a recording fake in tests.
/// </summary>
/// <remarks>
/// All methods may be called from several threads. A call that the provider does not have returns <see cref="CUresult.NotSupported"/>. A context must be
/// current on the calling thread except for the first two groups.
/// </remarks>
public unsafe interface ICudaDriver
{
    /// <summary>The provider, for people.</summary>
    string Name { get; }

    /// <summary>The library it calls, as far as it knows.</summary>
    string LibraryPath { get; }

    /// <summary>CUDA version of the driver as 1000 · major + 10 · minor; 0 when it does not answer.</summary>
    int Version { get; }

    /// <summary>What the driver tells about its last fault beyond the result; null when it tells nothing, as real drivers do.</summary>
    string? FaultReport => null;

#pragma warning disable CS1591, CA1716 // The calls and the names of their arguments are those of the CUDA driver API, which documents them.
    // Driver and errors.
    CUresult Init(uint flags);
    CUresult GetErrorName(CUresult result, byte** text);
    CUresult GetErrorString(CUresult result, byte** text);

    // Devices and contexts.
    CUresult DeviceGetCount(int* count);
    CUresult DeviceGet(int* device, int ordinal);
    CUresult DeviceGetName(byte* name, int length, int device);
    CUresult DeviceGetAttribute(int* value, CudaDeviceAttribute attribute, int device);
    CUresult DeviceTotalMem(nuint* bytes, int device);
    CUresult DevicePrimaryCtxRetain(nint* context, int device);
    CUresult DevicePrimaryCtxRelease(int device);
    CUresult CtxGetCurrent(nint* context);
    CUresult CtxSetCurrent(nint context);
    CUresult CtxSynchronize();

    // Modules and functions. The image is PTX ending in NUL, which is counted, or a cubin; the log gets what the compiler of the driver says of it, ending in NUL.
    CUresult ModuleLoadData(nint* module, byte* image, nuint imageBytes, byte* errorLog, int errorLogBytes);
    CUresult ModuleUnload(nint module);
    CUresult ModuleGetFunction(nint* function, nint module, byte* name);
    CUresult ModuleGetGlobal(nint* address, nuint* bytes, nint module, byte* name);
    CUresult FuncGetAttribute(int* value, CudaFunctionAttribute attribute, nint function);
    CUresult FuncSetAttribute(nint function, CudaFunctionAttribute attribute, int value);
    CUresult FuncGetParamInfo(nint function, nuint index, nuint* offset, nuint* bytes);
    CUresult OccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, nint function, int threads, nuint dynamicSharedBytes);

    // Memory.
    CUresult MemGetInfo(nuint* free, nuint* total);
    CUresult MemAlloc(nint* address, nuint bytes);
    CUresult MemFree(nint address);
    CUresult MemAllocAsync(nint* address, nuint bytes, nint stream);
    CUresult MemFreeAsync(nint address, nint stream);
    CUresult MemAllocHost(void** address, nuint bytes);
    CUresult MemFreeHost(void* address);
    CUresult MemHostRegister(void* address, nuint bytes, uint flags);
    CUresult MemHostUnregister(void* address);
    CUresult MemcpyHtoDAsync(nint destination, void* source, nuint bytes, nint stream);
    CUresult MemcpyDtoHAsync(void* destination, nint source, nuint bytes, nint stream);
    CUresult MemcpyDtoDAsync(nint destination, nint source, nuint bytes, nint stream);
    CUresult MemsetD8Async(nint destination, byte value, nuint count, nint stream);
    CUresult MemsetD32Async(nint destination, uint value, nuint count, nint stream);

    // Streams and events.
    CUresult StreamCreate(nint* stream, uint flags);
    CUresult StreamDestroy(nint stream);
    CUresult StreamSynchronize(nint stream);
    CUresult StreamQuery(nint stream);
    CUresult StreamWaitEvent(nint stream, nint @event, uint flags);
    CUresult EventCreate(nint* @event, uint flags);
    CUresult EventDestroy(nint @event);
    CUresult EventRecord(nint @event, nint stream);
    CUresult EventQuery(nint @event);
    CUresult EventSynchronize(nint @event);
    CUresult EventElapsedTime(float* milliseconds, nint start, nint end);

    // Tensor maps, at multiples of 64 bytes. Types, swizzles and so on are the numbers of cuda.h.
    CUresult TensorMapEncodeTiled(
        CudaTensorMap* map, int type, uint rank, nint address, ulong* sizes, ulong* strides, uint* box, uint* elementStrides,
        int interleave, int swizzle, int promotion, int fill);

    // Launches. The kernel has one parameter, a struct, and parameters points at the one pointer to it.
    CUresult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicSharedBytes, nint stream, void** parameters);

    // Graphs.
    CUresult StreamBeginCapture(nint stream, int mode);
    CUresult StreamEndCapture(nint stream, nint* graph);
    CUresult GraphInstantiate(nint* instance, nint graph);
    CUresult GraphExecUpdate(nint instance, nint graph);
    CUresult GraphLaunch(nint instance, nint stream);
    CUresult GraphExecDestroy(nint instance);
    CUresult GraphDestroy(nint graph);
#pragma warning restore CS1591, CA1716
}
