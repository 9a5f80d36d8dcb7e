using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Tests;

/// <summary>
/// An emulator that nobody else uses: the library once more under another name, with its own memory, settings, faults and counters. So a test may turn on what would disturb
/// the others. It stays in memory until the process ends, so a class of tests shares one.
/// </summary>
public sealed unsafe class PrivateEmulator : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"kf-emulator-{Guid.NewGuid():N}.so");
    private readonly Lazy<(nint Library, ICudaDriver Driver)> _opened;

    /// <summary>Nothing is opened before it is used: where there is no emulator, its tests are skipped.</summary>
    public PrivateEmulator() => _opened = new(Open);

    public ICudaDriver Driver => _opened.Value.Driver;

    /// <summary>What was counted since the last reset.</summary>
    internal EmulatorCounters Counters => EmulatorCounters.Parse(Text("kfemu_counters_json"));

    /// <summary>A device of it: 0 is an sm_80, 1 an sm_90.</summary>
    internal DriverSession Open(string deviceName) => new(Driver, deviceName == "emulated-sm90" ? 1 : 0);

    /// <summary>Changes a setting.</summary>
    public void Set(string key, string value)
    {
        var set = (delegate* unmanaged<byte*, byte*, int>)NativeLibrary.GetExport(_opened.Value.Library, "kfemu_set");
        fixed (byte* keyText = Encoding.UTF8.GetBytes(key + '\0'), valueText = Encoding.UTF8.GetBytes(value + '\0'))
            Assert.True(set(keyText, valueText) == 0, $"the emulator has no setting {key}={value}");
    }

    public void ResetCounters() => ((delegate* unmanaged<void>)NativeLibrary.GetExport(_opened.Value.Library, "kfemu_reset_counters"))();

    /// <summary>How many of a kind live, as "streams".</summary>
    public int Live(string kind)
    {
        var live = (delegate* unmanaged<byte*, int>)NativeLibrary.GetExport(_opened.Value.Library, "kfemu_live");
        fixed (byte* text = Encoding.UTF8.GetBytes(kind + '\0')) return live(text);
    }

    // The mapping lives on without its name.
    public void Dispose() => File.Delete(_path);

    private (nint Library, ICudaDriver Driver) Open()
    {
        File.Copy(Emulator.Path, _path);
        return (NativeLibrary.Load(_path), CudaDrivers.OpenLibrary(_path));
    }

    private string Text(string export)
    {
        var read = (delegate* unmanaged<byte*, int, int>)NativeLibrary.GetExport(_opened.Value.Library, export);
        byte[] text = new byte[read(null, 0) + 1];
        fixed (byte* start = text) _ = read(start, text.Length);
        return Encoding.UTF8.GetString(text, 0, text.Length - 1);
    }
}
