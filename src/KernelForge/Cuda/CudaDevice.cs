using System.Globalization;
using System.Text;
using KernelForge.Cuda;

namespace KernelForge;

/// <summary>
/// A CUDA device through its primary context, which it shares with every library in the process. Callers never need a current context. Operators, copies and
/// frees run in order on one stream, <see cref="Stream"/>. Safe for several threads.
/// </summary>
public sealed unsafe partial class CudaDevice : Device
{
    internal const string KernelPathVariable = "KERNELFORGE_KERNEL_PATH";

    /// <summary>Shared memory of a block that needs no opting in.</summary>
    internal const int PlainSharedBytes = 48 * 1024;

    private const uint NonBlocking = 1, NoTiming = 2;

    private readonly HashSet<CudaResource> _resources = [];
    private readonly int _device;
    private readonly nint _context;
    private readonly bool _isShared;
    private readonly KernelImages _images;
    private readonly string _name;
    private bool _disposed;

    internal CudaDevice(int ordinal, CudaDeviceOptions options, bool isShared)
    {
        Check.That(ordinal >= 0, $"OpenCuda: device {ordinal}, expected 0 or more");
        Driver = CudaDrivers.Open(options);
        Ordinal = ordinal;
        _isShared = isShared;
        _device = FindDevice(Driver, ordinal);
        ComputeCapability = new Version(
            GetAttribute(CudaDeviceAttribute.ComputeCapabilityMajor), GetAttribute(CudaDeviceAttribute.ComputeCapabilityMinor));
        _name = ReadName();
        _images = new KernelImages(
            10 * ComputeCapability.Major + ComputeCapability.Minor, options.KernelFolder ?? CudaDrivers.Variable(KernelPathVariable));
        _poolsSupported = GetAttribute(CudaDeviceAttribute.MemoryPoolsSupported) != 0;
        nint context;
        Verify(Driver.DevicePrimaryCtxRetain(&context, _device), "cuDevicePrimaryCtxRetain", _name);
        _context = context;
        try
        {
            Stream = options.Stream == 0 ? CreateStream() : WrapStream(options.Stream);
            _staging = new StagingRing(this, options.StagingBytes);
            Operators = new CudaOperators(this, options);
        }
        catch
        {
            Close();
            throw;
        }
    }

    /// <summary>The first device for the whole process; null when there is none, or no kernels for it.</summary>
    internal static CudaDevice? OpenShared()
    {
        try
        {
            CudaDevice device = new(0, new CudaDeviceOptions(), isShared: true);
            if (device.KernelNames.Count > 0) return device;
            device.Close();
        }
        catch (CudaUnavailableException)
        {
            // OpenCuda says why.
        }
        return null;
    }

    /// <summary>Who calls the driver.</summary>
    public ICudaDriver Driver { get; }

    /// <summary>The driver's number of the device.</summary>
    public int Ordinal { get; }

    /// <summary>8.0, 9.0, ...</summary>
    public Version ComputeCapability { get; }

    /// <summary>Where operators, copies and frees run.</summary>
    public CudaStream Stream { get; }

    /// <summary>Handle of the primary context, for libraries that ask for one.</summary>
    public nint Context => _context;

    /// <summary>Names of the files of kernels that run on this device, as "rms_norm".</summary>
    public IReadOnlyCollection<string> KernelNames => _images.Names;

    /// <inheritdoc/>
    public override string Name => $"CUDA {Ordinal} ({_name}, compute capability {ComputeCapability})";

    /// <inheritdoc/>
    public override bool IsCpu => false;

    /// <inheritdoc/>
    public override Operators Operators { get; }

    internal LaunchLog Launches { get; } = new();

    /// <summary>A number that the driver knows of the device.</summary>
    public int GetAttribute(CudaDeviceAttribute attribute)
    {
        int value;
        CUresult result = Driver.DeviceGetAttribute(&value, attribute, _device);
        if (result != CUresult.Success) Verify(result, "cuDeviceGetAttribute", attribute.ToString());
        return value;
    }

    /// <summary>A stream that does not wait for others.</summary>
    public CudaStream CreateStream()
    {
        using CurrentContext context = Enter();
        nint handle;
        Verify(Driver.StreamCreate(&handle, NonBlocking), "cuStreamCreate");
        return new CudaStream(this, handle, isOwner: true);
    }

    /// <summary>A stream of this device's primary context that somebody else owns; disposing the result frees nothing.</summary>
    public CudaStream WrapStream(nint handle) => new(this, handle, isOwner: false);

    /// <summary>An event, with or without the time.</summary>
    public CudaEvent CreateEvent(bool withTiming = true)
    {
        using CurrentContext context = Enter();
        nint handle;
        Verify(Driver.EventCreate(&handle, withTiming ? 0 : NoTiming), "cuEventCreate");
        return new CudaEvent(this, handle);
    }

    /// <inheritdoc/>
    public override void Synchronize()
    {
        using CurrentContext context = Enter();
        Verify(Driver.CtxSynchronize(), "cuCtxSynchronize");
    }

    /// <summary>Makes the context current on this thread until the result is disposed: for calls of other CUDA libraries, as this library's own need none.</summary>
    public CurrentContext Enter()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new CurrentContext(Driver, _context);
    }

    internal void Adopt(CudaResource resource)
    {
        lock (_resources) _resources.Add(resource);
    }

    internal void Disown(CudaResource resource)
    {
        lock (_resources) _resources.Remove(resource);
    }

    /// <summary>Waits for queued work, then frees all that the device still holds and lets the primary context go. A shared device stays.</summary>
    protected override void Dispose(bool disposing)
    {
        if (!_isShared && !_disposed) Close();
    }

    private void Close()
    {
        using (CurrentContext context = Enter())
        {
            (Operators as CudaOperators)?.Close();
            Driver.CtxSynchronize(); // a fault of earlier work was or will be reported by the call that meets it
            foreach (CudaResource resource in _resources.ToArray()) resource.Dispose();
            FreeAll();
        }
        _disposed = true;
        nint current;
        if (Driver.CtxGetCurrent(&current) == CUresult.Success && current == _context) Driver.CtxSetCurrent(0);
        Driver.DevicePrimaryCtxRelease(_device);
    }

    private static int FindDevice(ICudaDriver driver, int ordinal)
    {
        CUresult result = driver.Init(0);
        if (result != CUresult.Success)
        {
            throw new CudaUnavailableException($"the CUDA driver '{driver.LibraryPath}' does not start: cuInit gives {NameOf(driver, result)}. " +
                "Is there a GPU, and does its driver run (nvidia-smi)?");
        }
        if (driver.Version < CudaDrivers.MinVersion)
        {
            throw new CudaUnavailableException($"the CUDA driver '{driver.LibraryPath}' is of CUDA {VersionText(driver.Version)}, " +
                $"{VersionText(CudaDrivers.MinVersion)} or newer is needed; update the NVIDIA driver");
        }
        int count = 0, device = 0;
        result = driver.DeviceGetCount(&count);
        if (result != CUresult.Success || count == 0)
            throw new CudaUnavailableException($"the CUDA driver '{driver.LibraryPath}' finds no device ({NameOf(driver, result)}); see CUDA_VISIBLE_DEVICES");
        if (ordinal >= count)
            throw new CudaUnavailableException($"device {ordinal} asked; the CUDA driver '{driver.LibraryPath}' has {count}, numbered from 0");
        result = driver.DeviceGet(&device, ordinal);
        return result == CUresult.Success ? device : throw new CudaUnavailableException($"cuDeviceGet({ordinal}) gives {NameOf(driver, result)}");
    }

    private string ReadName()
    {
        const int Length = 256;
        byte* text = stackalloc byte[Length];
        Verify(Driver.DeviceGetName(text, Length, _device), "cuDeviceGetName");
        return Encoding.UTF8.GetString(System.Runtime.InteropServices.MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));
    }

    internal static string VersionText(int version) => string.Create(CultureInfo.InvariantCulture, $"{version / 1000}.{version % 1000 / 10}");
}
