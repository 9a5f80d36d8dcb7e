using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Tests;

/// <summary>
/// The library that runs the shipped PTX on the CPU behind the names of the CUDA driver. Warps and blocks run in an order that a seed chooses: another one
/// in every run, or KF_EMULATOR_SEED. Failures name it, so that they can be repeated.
/// </summary>
internal static unsafe class Emulator
{
    private static readonly Lazy<nint> Library = new(Load);

    /// <summary>Where the build leaves it.</summary>
    public static string Path { get; } =
        System.IO.Path.Combine(Repository.IsHere ? Repository.Root : AppContext.BaseDirectory, "artifacts", "emulator", "libcuda_emulated.so");

    /// <summary>Of the order in which warps, blocks and streams run.</summary>
    public static string Seed { get; } =
        Environment.GetEnvironmentVariable("KF_EMULATOR_SEED") ?? Random.Shared.Next(1, 1_000_000).ToString(CultureInfo.InvariantCulture);

    /// <summary>Why the emulated devices cannot be opened here; null when they can.</summary>
    public static string? WhyMissing()
    {
        bool hasKernels = Environment.GetEnvironmentVariable("KERNELFORGE_KERNEL_PATH") is not null
            || typeof(Device).Assembly.GetManifestResourceNames().Any(name => name.StartsWith("KernelForge.Kernels.", StringComparison.Ordinal));
        return !File.Exists(Path) ? $"no emulator at {Path}; ./build.sh kernels builds it"
            : !hasKernels ? "KernelForge.dll holds no PTX; ./build.sh kernels makes it"
            : null;
    }

    /// <summary>Emulated device 0, an "sm_80", or 1, an "sm_90"; the driver of the options is not looked at.</summary>
    public static Device Open(int ordinal, CudaDeviceOptions? options = null)
    {
        if (WhyMissing() is string reason) throw new InvalidOperationException(reason);
        _ = Library.Value;
        return Device.OpenCuda(ordinal, (options ?? new CudaDeviceOptions()) with { DriverLibrary = Path });
    }

    /// <summary>Changes one of the emulator's settings for all of its devices.</summary>
    public static void Set(string key, string value) => Set(Library.Value, key, value);

    private static nint Load()
    {
        nint library = NativeLibrary.Load(Path);
        Set(library, "order", "random");
        Set(library, "seed", Seed);
        return library;
    }

    private static void Set(nint library, string key, string value)
    {
        var set = (delegate* unmanaged<byte*, byte*, int>)NativeLibrary.GetExport(library, "kfemu_set");
        fixed (byte* keyBytes = Encoding.UTF8.GetBytes(key + '\0'), valueBytes = Encoding.UTF8.GetBytes(value + '\0'))
            _ = set(keyBytes, valueBytes);
    }
}
