using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;

namespace KernelForge.Tests.Cuda;

/// <summary>
/// A driver that records the names of the calls, keeps books of what lives, and fails where it is told to. Memory is host memory, so that copies, fills and
/// graphs of them work; kernels are only counted.
/// </summary>
internal sealed unsafe partial class FakeCudaDriver : ICudaDriver
{
    public const nint PrimaryContext = 0x1000;

    private readonly HashSet<(string Kind, nint Handle)> _live = [];
    private readonly Dictionary<nint, (nint Module, int[] ParameterBytes)> _functions = [];
    private readonly Dictionary<nint, string> _images = [];
    private readonly Dictionary<nint, List<Action>> _captures = [], _graphs = [];
    private readonly Dictionary<string, CUresult> _failures = [];
    private readonly ConcurrentDictionary<int, nint> _current = new(); // by thread
    private readonly HashSet<nint> _recorded = [];
    private nint _lastHandle = 0x10_0000;
    private int _contextUsers;

    /// <summary>Names of the calls made, but for those of the current context.</summary>
    public List<string> Calls { get; } = new(capacity: 64 * 1024);

    /// <summary>The call, counted from 1, that fails with <see cref="CUresult.OutOfMemory"/>; 0 for none.</summary>
    public int FailingCall { get; set; }

    public int Devices { get; init; } = 1;

    public bool HasPools { get; init; } = true;

    public int Launches { get; private set; }

    public string Name => "fake";

    public string LibraryPath => "fake";

    public int Version { get; init; } = 12080;

    public string? FaultReport { get; set; }

    private nint Current => _current.GetValueOrDefault(Environment.CurrentManagedThreadId);

    /// <summary>Everything that lives, as "stream 0x100003".</summary>
    public IEnumerable<string> Live => _live.Select(thing => $"{thing.Kind} 0x{thing.Handle:x}").Concat(Enumerable.Repeat("use of the context", _contextUsers));

    /// <summary>From now on the call fails, until <see cref="CUresult.Success"/> is given.</summary>
    public void Fail(string call, CUresult result) => _failures[call] = result;

    public CUresult Init(uint flags) => Do("cuInit");

    public CUresult GetErrorName(CUresult result, byte** text) => Text(result, text, "CUDA_ERROR_OUT_OF_MEMORY"u8, "CUDA_ERROR_ILLEGAL_ADDRESS"u8);

    public CUresult GetErrorString(CUresult result, byte** text) => Text(result, text, "out of memory"u8, "an illegal memory access was encountered"u8);

    public CUresult DeviceGetCount(int* count) => Set(Do("cuDeviceGetCount"), count, Devices);

    public CUresult DeviceGet(int* device, int ordinal) =>
        (uint)ordinal < (uint)Devices ? Set(Do("cuDeviceGet"), device, ordinal) : CUresult.InvalidDevice;

    public CUresult DeviceGetName(byte* name, int length, int device)
    {
        "Fake GPU\0"u8.CopyTo(new Span<byte>(name, length));
        return Do("cuDeviceGetName");
    }

    public CUresult DeviceGetAttribute(int* value, CudaDeviceAttribute attribute, int device) => Set(Do("cuDeviceGetAttribute"), value, attribute switch
    {
        CudaDeviceAttribute.ComputeCapabilityMajor => 8,
        CudaDeviceAttribute.MaxThreadsPerBlock => 1024,
        CudaDeviceAttribute.WarpSize => 32,
        CudaDeviceAttribute.MultiprocessorCount => 4,
        CudaDeviceAttribute.MaxSharedMemoryPerBlock => 48 * 1024,
        CudaDeviceAttribute.MaxSharedMemoryPerBlockOptin => 163 * 1024,
        CudaDeviceAttribute.MemoryPoolsSupported => HasPools ? 1 : 0,
        _ => 0,
    });

    public CUresult DeviceTotalMem(nuint* bytes, int device) => Set(Do("cuDeviceTotalMem"), bytes, (nuint)1 << 30);

    public CUresult DevicePrimaryCtxRetain(nint* context, int device)
    {
        CUresult result = Do("cuDevicePrimaryCtxRetain");
        if (result == CUresult.Success) _contextUsers++;
        return Set(result, context, PrimaryContext + device);
    }

    public CUresult DevicePrimaryCtxRelease(int device)
    {
        _contextUsers--;
        return Do("cuDevicePrimaryCtxRelease");
    }

    public CUresult CtxGetCurrent(nint* context) => Set(CUresult.Success, context, Current);

    public CUresult CtxSetCurrent(nint context)
    {
        _current[Environment.CurrentManagedThreadId] = context;
        return CUresult.Success;
    }

    public CUresult CtxSynchronize() => InContext("cuCtxSynchronize");

    public CUresult ModuleLoadData(nint* module, byte* image, nuint imageBytes, byte* errorLog, int errorLogBytes)
    {
        string text = TextOf(image);
        CUresult result = InContext("cuModuleLoadData");
        if (result == CUresult.Success && !text.StartsWith(".version", StringComparison.Ordinal)) result = CUresult.InvalidImage;
        if (result == CUresult.Success && text.Contains("made.up", StringComparison.Ordinal)) result = CUresult.InvalidPtx;
        if (result != CUresult.Success)
        {
            "ptxas: line 1: syntax error\0"u8.CopyTo(new Span<byte>(errorLog, errorLogBytes));
            return result;
        }
        *module = New("module");
        _images[*module] = text;
        return result;
    }

    public CUresult ModuleUnload(nint module) => End("cuModuleUnload", "module", module);

    public CUresult ModuleGetFunction(nint* function, nint module, byte* name)
    {
        CUresult result = InContext("cuModuleGetFunction");
        if (result != CUresult.Success) return result;
        Match entry = Regex.Match(_images[module], $@"\.entry {Regex.Escape(TextOf(name))}\(([^)]*)\)");
        if (!entry.Success) return CUresult.NotFound;
        *function = ++_lastHandle;
        int[] bytes = [.. ParameterSize().Matches(entry.Groups[1].Value).Select(size => int.Parse(size.Groups[1].Value, null))];
        _functions[*function] = (module, bytes);
        return result;
    }

    public CUresult ModuleGetGlobal(nint* address, nuint* bytes, nint module, byte* name) => CUresult.NotFound;

    public CUresult FuncGetAttribute(int* value, CudaFunctionAttribute attribute, nint function) =>
        Set(InContext("cuFuncGetAttribute"), value, attribute == CudaFunctionAttribute.MaxThreadsPerBlock ? 1024 : 0);

    public CUresult FuncSetAttribute(nint function, CudaFunctionAttribute attribute, int value) => InContext("cuFuncSetAttribute");

    public CUresult FuncGetParamInfo(nint function, nuint index, nuint* offset, nuint* bytes)
    {
        int[] sizes = _functions[function].ParameterBytes;
        if (index >= (nuint)sizes.Length) return CUresult.InvalidValue;
        *offset = 0;
        return Set(InContext("cuFuncGetParamInfo"), bytes, (nuint)sizes[index]);
    }

    public CUresult OccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, nint function, int threads, nuint dynamicSharedBytes) =>
        Set(InContext("cuOccupancyMaxActiveBlocksPerMultiprocessor"), blocks, 2048 / threads);

    public CUresult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicSharedBytes, nint stream, void** parameters)
    {
        if (gridX * gridY * gridZ == 0 || blockX * blockY * blockZ is 0 or > 1024) return CUresult.InvalidValue;
        CUresult result = InContext("cuLaunchKernel");
        if (result == CUresult.Success) Launches++;
        return result;
    }

    public CUresult TensorMapEncodeTiled(
        CudaTensorMap* map, int type, uint rank, nint address, ulong* sizes, ulong* strides, uint* box, uint* elementStrides,
        int interleave, int swizzle, int promotion, int fill)
    {
        if (rank is 0 or > 5 || address % 16 != 0 || (nint)map % CudaTensorMap.Alignment != 0) return CUresult.InvalidValue;
        return Set(InContext("cuTensorMapEncodeTiled"), map, default);
    }

    private static CUresult Set<T>(CUresult result, T* target, T value) where T : unmanaged
    {
        if (result == CUresult.Success) *target = value;
        return result;
    }

    /// <summary>The two results whose names the tests look at.</summary>
    private static CUresult Text(CUresult result, byte** text, ReadOnlySpan<byte> outOfMemory, ReadOnlySpan<byte> illegalAddress)
    {
        if (result is not (CUresult.OutOfMemory or CUresult.IllegalAddress)) return CUresult.InvalidValue;
        ReadOnlySpan<byte> known = result == CUresult.OutOfMemory ? outOfMemory : illegalAddress;
        *text = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(known)); // literals lie still and end in NUL
        return CUresult.Success;
    }

    private static string TextOf(byte* text) => Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));

    [GeneratedRegex(@"\[(\d+)\]")]
    private static partial Regex ParameterSize();

    /// <summary>Books the call; fails it if it is to fail.</summary>
    private CUresult Do(string call)
    {
        lock (Calls) Calls.Add(call);
        if (Calls.Count == FailingCall) return CUresult.OutOfMemory;
        return _failures.GetValueOrDefault(call);
    }

    private CUresult InContext(string call) => Current == 0 ? CUresult.InvalidContext : Do(call);

    private nint New(string kind)
    {
        nint handle = ++_lastHandle;
        _live.Add((kind, handle));
        return handle;
    }

    private CUresult Make(string call, string kind, nint* handle)
    {
        CUresult result = InContext(call);
        return result == CUresult.Success ? Set(result, handle, New(kind)) : result;
    }

    /// <summary>What is given back is gone, even when the call returns the failure of something else.</summary>
    private CUresult End(string call, string kind, nint handle)
    {
        CUresult result = InContext(call);
        if (result == CUresult.InvalidContext) return result;
        return _live.Remove((kind, handle)) ? result : CUresult.InvalidHandle;
    }
}
