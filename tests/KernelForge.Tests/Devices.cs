using KernelForge.Cpu;

namespace KernelForge.Tests;

/// <summary>
/// The devices every operator test runs on, by name: the CPU once per instruction set that this machine has, the two emulated GPUs, and a real one. A
/// test that takes a name is a <see cref="DeviceTheoryAttribute"/>: where the device is missing it is skipped, and counted as skipped.
/// </summary>
public static class Devices
{
    private const string ByMmaSync = "emulated-sm90-mma";

    private static readonly Dictionary<string, Subject> Subjects = new()
    {
        ["emulated-sm80"] = Emulated(0),
        ["emulated-sm90"] = Emulated(1),
        [ByMmaSync] = Emulated(1, usesWarpgroups: false),
        ["cuda"] = new Subject(options => Device.OpenCuda(0, options), WhyNoCuda, "KF_REQUIRE_CUDA", [DType.F16, DType.BF16]),
    };

    static Devices()
    {
        foreach (CpuInstructionSet set in Enum.GetValues<CpuInstructionSet>().Where(set => set <= CpuInstructionSets.Best))
        {
            var options = new CpuDeviceOptions { Threads = 2, InstructionSet = set };
            Subjects.Add($"cpu-{set}", new Subject(_ => Device.OpenCpu(options), () => null, null, Numbers.FloatTypes));
        }

        CpuNames = [.. Subjects.Keys.Where(name => name.StartsWith("cpu-", StringComparison.Ordinal))];
        CudaNames = [.. Subjects.Keys.Except([.. CpuNames, ByMmaSync])];
    }

    /// <summary>From the slowest instruction set to the fastest.</summary>
    public static string[] CpuNames { get; }

    /// <summary>Devices that run the CUDA kernels. Those that are missing have a name too.</summary>
    public static string[] CudaNames { get; }

    /// <summary>Those, and the emulated sm_90 without kernels of warpgroup products: for operators that have both kinds.</summary>
    public static string[] WideNames => [.. CudaNames, ByMmaSync];

    public static string[] Names => [.. CpuNames, .. CudaNames];

    public static TheoryData<string> All => [.. Names];

    /// <summary>The CPU devices, for what the others do not promise.</summary>
    public static TheoryData<string> AllCpus => [.. CpuNames];

    public static TheoryData<string> AllCuda => [.. CudaNames];

    /// <summary>CPU devices that must agree bit for bit: 1, 2 and 3 threads, every instruction set of this machine, the widest without and with the native library.</summary>
    public static IEnumerable<CpuDeviceOptions> CpuVariants =>
        from threads in (int[])[1, 2, 3]
        from set in Enum.GetValues<CpuInstructionSet>()
        where set <= CpuInstructionSets.Best
        from native in set == CpuInstructionSet.Vector512 && CpuLibrary.OfProcess is not null ? (bool[])[false, true] : [false]
        select new CpuDeviceOptions { Threads = threads, InstructionSet = set, Native = native };

    /// <summary>A device of one's own, to be disposed. Most test classes share theirs: <see cref="OpenDevices"/>.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="options">For a CUDA device; null for the usual ones.</param>
    public static Device OpenAlone(string name, CudaDeviceOptions? options = null) => Subjects[name].Open(options);

    /// <summary>What its operators compute with. A CUDA operator takes one of the two for all of its matrices, the CPU any mixture.</summary>
    public static DType[] FloatTypes(string name) => Subjects[name].FloatTypes;

    /// <summary>Whether the CPU's rules for mixed types and bad indices do not apply.</summary>
    public static bool IsCuda(string name) => !CpuNames.Contains(name);

    /// <summary>Whether a device has that name.</summary>
    public static bool Has(string name) => Subjects.ContainsKey(name);

    /// <summary>Why tests on this device cannot run here; null when they can, or when they must.</summary>
    public static string? SkipReason(string name) => Subjects.TryGetValue(name, out Subject? subject) ? subject.SkipReason : null;

    private static Subject Emulated(int ordinal, bool usesWarpgroups = true) =>
        new(options => Emulator.Open(ordinal, (options ?? new CudaDeviceOptions()) with { UsesWarpgroups = usesWarpgroups }), Emulator.WhyMissing, "KF_REQUIRE_EMULATOR", [DType.F16, DType.BF16]);

    private static string? WhyNoCuda()
    {
        try
        {
            Device.OpenCuda().Dispose();
            return null;
        }
        catch (CudaUnavailableException missing)
        {
            return missing.Message;
        }
    }

    private sealed class Subject(Func<CudaDeviceOptions?, Device> open, Func<string?> whyMissing, string? requiredBy, DType[] floatTypes)
    {
        private readonly Lazy<string?> _skipReason = new(() =>
            requiredBy is not null && Environment.GetEnvironmentVariable(requiredBy) == "1" ? null : whyMissing());

        public DType[] FloatTypes => floatTypes;

        public string? SkipReason => _skipReason.Value;

        public Device Open(CudaDeviceOptions? options) => open(options);
    }
}
