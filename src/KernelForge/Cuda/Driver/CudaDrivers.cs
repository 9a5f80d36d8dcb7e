using KernelForge.Cuda;

namespace KernelForge;

/// <summary>
/// Which provider calls the driver. Without options it is the library named by KERNELFORGE_CUDA_DRIVER, else a registered adapter, else the driver library of
/// this machine. KERNELFORGE_DRIVER = auto, direct or the name of an adapter decides between the last two.
/// </summary>
public static class CudaDrivers
{
    /// <summary>The oldest driver that runs this library's kernels, as <see cref="ICudaDriver.Version"/> counts: CUDA 12.4.</summary>
    public const int MinVersion = 12040;

    internal const string LibraryVariable = "KERNELFORGE_CUDA_DRIVER", ProviderVariable = "KERNELFORGE_DRIVER";

    private const string Automatic = "auto", Direct = "direct";

    private static readonly Dictionary<string, Func<ICudaDriver>> Adapters = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Opens a driver library by path, or that of this machine.</summary>
    /// <exception cref="CudaUnavailableException">There is none, or it is no CUDA driver.</exception>
    public static ICudaDriver OpenLibrary(string? path = null) =>
        new DirectCudaDriver(path is null ? DriverLibrary.OpenDefault() : new DriverLibrary(path));

    /// <summary>Adds a provider, which devices that are opened from now on prefer to the plain library. The same name again replaces it.</summary>
    /// <param name="name">What KERNELFORGE_DRIVER may say.</param>
    /// <param name="open">Opens it, or throws <see cref="CudaUnavailableException"/>.</param>
    public static void Register(string name, Func<ICudaDriver> open)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(open);
        lock (Adapters) Adapters[name] = open;
    }

    /// <summary>The provider that the options, or else the environment, ask for.</summary>
    internal static ICudaDriver Open(CudaDeviceOptions options)
    {
        if (options.Driver is not null) return options.Driver;
        string? path = options.DriverLibrary ?? Variable(LibraryVariable);
        return path is null ? OpenProvider(Variable(ProviderVariable) ?? Automatic) : OpenLibrary(path);
    }

    internal static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;

    private static ICudaDriver OpenProvider(string provider)
    {
        if (provider.Equals(Direct, StringComparison.OrdinalIgnoreCase)) return OpenLibrary();
        lock (Adapters)
        {
            if (Adapters.TryGetValue(provider, out Func<ICudaDriver>? named)) return named();
            if (!provider.Equals(Automatic, StringComparison.OrdinalIgnoreCase))
            {
                throw new CudaUnavailableException($"{ProviderVariable} is '{provider}', expected {Automatic}, {Direct} or a registered adapter " +
                    $"({(Adapters.Count == 0 ? "none is" : string.Join(", ", Adapters.Keys))})");
            }
            foreach (Func<ICudaDriver> open in Adapters.Values)
            {
                try
                {
                    return open();
                }
                catch (CudaUnavailableException)
                {
                    // The adapter's own needs are not met; the plain library may still work.
                }
            }
        }
        return OpenLibrary();
    }
}
