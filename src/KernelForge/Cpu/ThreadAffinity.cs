using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Which cores a thread may run on. Linux and Windows say and take it; elsewhere a process has all cores, and nothing is held.</summary>
internal static unsafe partial class ThreadAffinity
{
    private const int MaxCores = 8192, MaskWords = MaxCores / 64;

    /// <summary>The cores that this process may use, ascending.</summary>
    public static int[] ProcessCores()
    {
        if (OperatingSystem.IsLinux() && CoresOf(Environment.ProcessId) is { Length: > 0 } allowed) return allowed;
        if (OperatingSystem.IsWindows())
        {
            using Process process = Process.GetCurrentProcess();
            return CoresIn([(ulong)process.ProcessorAffinity]);
        }
        return [.. Enumerable.Range(0, Environment.ProcessorCount)];
    }

    /// <summary>The cores to which other threads of this process are held alone, such as those of another pool. Empty where the system is not Linux.</summary>
    public static HashSet<int> TakenCores()
    {
        HashSet<int> taken = [];
        if (!OperatingSystem.IsLinux() || ProcessCores().Length == 1) return taken;
        foreach (string task in Directory.EnumerateDirectories("/proc/self/task"))
            if (CoresOf(int.Parse(Path.GetFileName(task), CultureInfo.InvariantCulture)) is [int core]) taken.Add(core);
        return taken;
    }

    /// <summary>Holds the calling thread to these cores. False where the system does not do it: the thread runs where it did.</summary>
    public static bool Hold(ReadOnlySpan<int> cores)
    {
        ulong* mask = stackalloc ulong[MaskWords];
        new Span<ulong>(mask, MaskWords).Clear();
        foreach (int core in cores)
            if (core < MaxCores) mask[core / 64] |= 1ul << core % 64;
        if (OperatingSystem.IsLinux()) return SetAffinity(0, MaskWords * sizeof(ulong), mask) == 0;
        return OperatingSystem.IsWindows() && mask[0] != 0 && SetThreadAffinityMask(GetCurrentThread(), (nuint)mask[0]) != 0;
    }

    /// <summary>The cores of a thread on Linux, 0 being the calling one; null where there is no such thread.</summary>
    public static int[]? CoresOf(int thread)
    {
        ulong* mask = stackalloc ulong[MaskWords];
        new Span<ulong>(mask, MaskWords).Clear();
        return GetAffinity(thread, MaskWords * sizeof(ulong), mask) == 0 ? CoresIn(new ReadOnlySpan<ulong>(mask, MaskWords)) : null;
    }

    private static int[] CoresIn(ReadOnlySpan<ulong> mask)
    {
        List<int> cores = [];
        for (int word = 0; word < mask.Length; word++)
            for (ulong left = mask[word]; left != 0; left &= left - 1) cores.Add(word * 64 + BitOperations.TrailingZeroCount(left));
        return [.. cores];
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int thread, nuint bytes, ulong* mask);

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int thread, nuint bytes, ulong* mask);

    [LibraryImport("kernel32")]
    private static partial nint GetCurrentThread();

    [LibraryImport("kernel32")]
    private static partial nuint SetThreadAffinityMask(nint thread, nuint mask);
}
