using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>An argument struct that is not the kernel's is refused before anything runs: the emulator, as the driver, says how many bytes a kernel expects.</summary>
public sealed class PlantedArgumentTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    [DeviceTheory, InlineData("emulated-sm80"), InlineData("emulated-sm90")]
    public void Launch_ArgumentsOfTheWrongSize_IsRefused(string deviceName)
    {
        int ordinal = deviceName == "emulated-sm90" ? 1 : 0;
        using var device = (CudaDevice)Device.OpenCuda(ordinal, new CudaDeviceOptions { Driver = emulator.Driver });
        using CudaModule module = device.LoadModule(TestKernels.Read("addresses", ordinal == 1 ? "sm_90a" : "sm_80"));
        CudaKernel kernel = module.GetKernel("copy_words");

        var refusal = Assert.Throws<ArgumentException>(() => kernel.Launch(1, 64, new ShortArgs(1, 2)));

        Assert.Contains("copy_words", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("ShortArgs has 16 bytes, the kernel expects 32", refusal.Message, StringComparison.Ordinal);
        device.Synchronize();
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct ShortArgs(nint Input, nint Output);
}
