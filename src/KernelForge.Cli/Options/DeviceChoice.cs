using System.Globalization;

namespace KernelForge.Cli;

/// <summary>Where the user wants to compute: <c>--device cpu|cuda|cuda:N|auto</c>.</summary>
/// <param name="Name">As given.</param>
/// <param name="Ordinal">The CUDA device; null for the CPU and for auto.</param>
internal readonly record struct DeviceChoice(string Name, int? Ordinal)
{
    private const string Auto = "auto", Cpu = "cpu", Cuda = "cuda";

    public static DeviceChoice Of(ParsedOptions options)
    {
        string name = options.Text("--device") ?? Auto;
        if (name is Auto or Cpu) return new DeviceChoice(name, null);
        if (name == Cuda) return new DeviceChoice(name, 0);
        if (name.StartsWith(Cuda + ":", StringComparison.Ordinal)
            && int.TryParse(name.AsSpan(Cuda.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal)) return new DeviceChoice(name, ordinal);
        throw new CommandException($"--device must be cpu, cuda, cuda:N or auto, not '{name}'.");
    }

    /// <summary>Opens the device; the caller disposes it. Threads are those of a CPU.</summary>
    public Device Open(int threads)
    {
        if (Ordinal is { } ordinal) return Device.OpenCuda(ordinal);
        if (Name == Auto && !Device.Default.IsCpu) return Device.Default;
        return Device.OpenCpu(new CpuDeviceOptions { Threads = threads });
    }
}
