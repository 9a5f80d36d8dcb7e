using KernelForge.Cpu;

namespace KernelForge.Tests;

/// <summary>How the native CPU library is found, and what is said where it is not.</summary>
public class CpuLibraryTests
{
    [Fact]
    public void Find_None_IsWithoutOne() => Assert.Null(CpuLibrary.Find("none"));

    [Fact]
    public void Find_PathOfNothing_SaysWhatIsExpected()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "no_such_library.so");
        string message = Assert.Throws<InvalidOperationException>(() => CpuLibrary.Find(path)).Message;
        Assert.Contains($"KERNELFORGE_CPU_LIBRARY: '{path}'", message);
        Assert.Contains("none", message);
    }

    [Fact]
    public void Find_AnotherLibrary_SaysThatItsInterfaceDiffers()
    {
        string other = OperatingSystem.IsWindows() ? "kernel32.dll" : OperatingSystem.IsMacOS() ? "libSystem.dylib" : "libc.so.6";
        Assert.Contains("interface 0 (0: none), expected 1", Assert.Throws<InvalidOperationException>(() => CpuLibrary.Find(other)).Message);
    }

    [Fact]
    public void Library_WhereItWasBuilt_LiesBesideTheAssemblies()
    {
        string name = OperatingSystem.IsWindows() ? "kernelforge_cpu.dll" : "libkernelforge_cpu.so";
        if (!Repository.IsHere || !File.Exists(Path.Combine(Repository.Root, "artifacts", "cpu", name))) return;
        Assert.True(File.Exists(Path.Combine(AppContext.BaseDirectory, name)), $"{name} is in artifacts/cpu, but not in {AppContext.BaseDirectory}");
    }

    [Fact]
    public void Name_OfADevice_SaysWhetherTheLibraryIsUsed()
    {
        using Device with = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 }), without = Device.OpenCpu(new CpuDeviceOptions { Threads = 1, Native = false });
        bool isThere = CpuLibrary.OfProcess is not null && CpuInstructionSets.Best == CpuInstructionSet.Vector512;
        Assert.Equal(isThere, with.Name.Contains("native", StringComparison.Ordinal));
        Assert.DoesNotContain("native", without.Name, StringComparison.Ordinal);
    }
}
