using System.Globalization;

namespace KernelForge.Cli;

/// <summary>Where the user wants to compute: <c>--device cpu|cuda|cuda:N|auto</c>, on a CPU with <c>--threads</c> and <c>--pin</c>.</summary>
/// <param name="Name">As given.</param>
/// <param name="Ordinal">The CUDA device; null for the CPU and for auto.</param>
/// <param name="Cpu">What a CPU is opened with.</param>
internal readonly record struct DeviceChoice(string Name, int? Ordinal, CpuDeviceOptions Cpu)
{
    private const string Auto = "auto", CpuName = "cpu", Cuda = "cuda";

    public static Option DeviceOption { get; } = new("--device", "NAME", "cpu, cuda, cuda:N, or auto: CUDA where there is one", "auto");

    public static Option ThreadsOption { get; } = new("--threads", "N", "threads that compute on the CPU", "one for each core");

    public static Option PinOption { get; } = new("--pin", null, "hold each of these threads to a core: for a machine that does nothing else");

    public static DeviceChoice Of(ParsedOptions options)
    {
        var cpu = new CpuDeviceOptions { Threads = options.Whole("--threads", 1, CpuDeviceOptions.MaxThreads) ?? 0, Pin = options.Has("--pin") };
        string name = options.Text("--device") ?? Auto;
        return new DeviceChoice(name, name is Auto or CpuName ? null : OrdinalOf(name), cpu);
    }

    /// <summary>Opens the device; the caller disposes it.</summary>
    public Device Open()
    {
        if (Ordinal is { } ordinal) return Device.OpenCuda(ordinal);
        if (Name == Auto && !Device.Default.IsCpu) return Device.Default;
        return Device.OpenCpu(Cpu);
    }

    private static int OrdinalOf(string name)
    {
        if (name == Cuda) return 0;
        if (name.StartsWith(Cuda + ":", StringComparison.Ordinal)
            && int.TryParse(name.AsSpan(Cuda.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal)) return ordinal;
        throw new CommandException($"--device must be cpu, cuda, cuda:N or auto, not '{name}'.");
    }
}
