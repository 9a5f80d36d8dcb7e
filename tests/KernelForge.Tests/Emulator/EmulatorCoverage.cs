using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Tests;

/// <summary>
/// Where KF_EMULATOR_COVER=1 makes the emulator remember which source lines ran, this process leaves them in artifacts/coverage when it ends: "file:line 1" for a line that ran,
/// "file:line 0" for one that did not. build.sh counts them.
/// </summary>
internal static unsafe class EmulatorCoverage
{
#pragma warning disable CA2255 // A test assembly has no other place that every run passes.
    [ModuleInitializer]
    internal static void Register()
    {
        if (Environment.GetEnvironmentVariable("KF_EMULATOR_COVER") == "1") AppDomain.CurrentDomain.ProcessExit += (_, _) => Write();
    }
#pragma warning restore CA2255

    private static void Write()
    {
        if (Emulator.WhyMissing() is not null) return;
        string folder = Path.Combine(Repository.Root, "artifacts", "coverage");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, $"{Environment.ProcessId}.txt"), Lines());
    }

    private static string Lines()
    {
        var read = (delegate* unmanaged<byte*, int, int>)NativeLibrary.GetExport(NativeLibrary.Load(Emulator.Path), "kfemu_coverage");
        byte[] text = new byte[read(null, 0) + 1];
        fixed (byte* start = text) _ = read(start, text.Length);
        return Encoding.UTF8.GetString(text, 0, text.Length - 1);
    }
}
