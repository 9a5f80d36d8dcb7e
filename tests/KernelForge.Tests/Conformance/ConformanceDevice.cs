namespace KernelForge.Tests;

/// <summary>The devices of the conformance kit: both emulated ones, and the GPU where there is one.</summary>
internal static class ConformanceDevice
{
    public static DriverSession Open(string deviceName) => deviceName == "cuda"
        ? new DriverSession(CudaDrivers.Open(new CudaDeviceOptions()), 0)
        : new DriverSession(CudaDrivers.OpenLibrary(Emulator.Path), deviceName == "emulated-sm90" ? 1 : 0);
}
