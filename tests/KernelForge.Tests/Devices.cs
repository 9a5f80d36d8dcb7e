namespace KernelForge.Tests;

/// <summary>The devices every operator test runs on. The CPU is a subject once per instruction set that this machine has.</summary>
public static class Devices
{
    private static readonly Dictionary<string, CpuDeviceOptions> Subjects = Enum.GetValues<CpuInstructionSet>()
        .Where(set => set <= CpuInstructionSets.Best)
        .ToDictionary(set => $"cpu-{set}", set => new CpuDeviceOptions { Threads = 2, InstructionSet = set });

    private static readonly Dictionary<string, Lazy<Device>> Opened = Subjects
        .ToDictionary(subject => subject.Key, subject => new Lazy<Device>(() => Device.OpenCpu(subject.Value)));

    public static string[] Names => [.. Opened.Keys];

    public static TheoryData<string> All => [.. Names];

    /// <summary>CPU devices that must agree bit for bit: 1, 2 and 3 threads, every instruction set of this machine.</summary>
    public static IEnumerable<CpuDeviceOptions> CpuVariants =>
        from threads in (int[])[1, 2, 3]
        from set in Enum.GetValues<CpuInstructionSet>()
        where set <= CpuInstructionSets.Best
        select new CpuDeviceOptions { Threads = threads, InstructionSet = set };

    /// <summary>A device that tests share.</summary>
    public static Device Open(string name) => Opened[name].Value;

    /// <summary>A device for one test, which disposes it: no call waits for another test's, which would allocate.</summary>
    public static Device OpenAlone(string name) => Device.OpenCpu(Subjects[name]);
}
