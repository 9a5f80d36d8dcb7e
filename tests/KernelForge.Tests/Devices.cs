namespace KernelForge.Tests;

/// <summary>The devices every operator test runs on. The CPU is a subject once per instruction set that this machine has.</summary>
public static class Devices
{
    private static readonly Dictionary<string, Lazy<Device>> Opened = Enum.GetValues<CpuInstructionSet>()
        .Where(set => set <= CpuInstructionSets.Best)
        .ToDictionary(set => $"cpu-{set}", set => new Lazy<Device>(() => Device.OpenCpu(new CpuDeviceOptions { Threads = 2, InstructionSet = set })));

    public static string[] Names => [.. Opened.Keys];

    public static TheoryData<string> All => [.. Names];

    /// <summary>CPU devices that must agree bit for bit: 1, 2 and 3 threads, every instruction set of this machine.</summary>
    public static IEnumerable<CpuDeviceOptions> CpuVariants =>
        from threads in (int[])[1, 2, 3]
        from set in Enum.GetValues<CpuInstructionSet>()
        where set <= CpuInstructionSets.Best
        select new CpuDeviceOptions { Threads = threads, InstructionSet = set };

    public static Device Open(string name) => Opened[name].Value;
}
