namespace KernelForge.Tests;

/// <summary>The devices every operator test runs on. The CPU is a subject once per instruction set that this machine has.</summary>
public static class Devices
{
    private static readonly Dictionary<string, Lazy<Device>> Opened = Enum.GetValues<CpuInstructionSet>()
        .Where(set => set <= CpuInstructionSets.Best)
        .ToDictionary(set => $"cpu-{set}", set => new Lazy<Device>(() => Device.OpenCpu(new CpuDeviceOptions { Threads = 2, InstructionSet = set })));

    public static string[] Names => [.. Opened.Keys];

    public static TheoryData<string> All => [.. Names];

    public static Device Open(string name) => Opened[name].Value;
}
