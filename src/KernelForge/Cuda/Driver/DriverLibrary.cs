using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Cuda;

/// <summary>A loaded driver library and its symbols. It is never unloaded: drivers keep threads of their own.</summary>
internal sealed unsafe class DriverLibrary
{
    private const int CudaVersion = 12040, DefaultFlags = 0;

    private readonly nint _handle;
    private readonly delegate* unmanaged<byte*, void**, int, ulong, int*, CUresult> _getProcAddress;

    /// <param name="path">A file, or a name that the loader finds.</param>
    /// <exception cref="CudaUnavailableException">It cannot be loaded.</exception>
    public DriverLibrary(string path)
    {
        Path = path;
        try
        {
            _handle = NativeLibrary.Load(path);
        }
        catch (Exception failure) when (failure is DllNotFoundException or BadImageFormatException)
        {
            throw new CudaUnavailableException($"the CUDA driver library '{path}' cannot be loaded: {failure.Message}", failure);
        }
        _getProcAddress = (delegate* unmanaged<byte*, void**, int, ulong, int*, CUresult>)FindOptional("cuGetProcAddress_v2");
    }

    public string Path { get; }

    /// <summary>The driver of this machine.</summary>
    /// <exception cref="CudaUnavailableException">There is none.</exception>
    public static DriverLibrary OpenDefault()
    {
        string[] names = OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so.1", "libcuda.so"];
        foreach (string name in names)
            if (NativeLibrary.TryLoad(name, out _)) return new DriverLibrary(name);
        throw new CudaUnavailableException(
            $"this machine has no CUDA driver: {string.Join(" or ", names)} was not found. Install the NVIDIA driver, or name its library in {CudaDrivers.LibraryVariable}");
    }

    /// <summary>Address of an exported function.</summary>
    /// <exception cref="CudaUnavailableException">There is none of that name.</exception>
    public void* Find(string symbol)
    {
        void* address = FindOptional(symbol);
        return address is not null ? address : throw new CudaUnavailableException(
            $"the library '{Path}' has no function {symbol}: it is no CUDA driver, or one older than CUDA 12.4; update the NVIDIA driver");
    }

    /// <summary>Address of an exported function; null when there is none of that name.</summary>
    public void* FindOptional(string symbol) =>
        NativeLibrary.TryGetExport(_handle, symbol, out nint address) ? (void*)address : Ask(symbol);

    /// <summary>Some functions are reached through the driver only.</summary>
    private void* Ask(string symbol)
    {
        if (_getProcAddress is null) return null;
        string name = symbol.EndsWith("_v2", StringComparison.Ordinal) ? symbol[..^3] : symbol;
        void* address = null;
        fixed (byte* text = Encoding.ASCII.GetBytes(name + '\0'))
        {
            int status;
            return _getProcAddress(text, &address, CudaVersion, DefaultFlags, &status) == CUresult.Success ? address : null;
        }
    }
}
