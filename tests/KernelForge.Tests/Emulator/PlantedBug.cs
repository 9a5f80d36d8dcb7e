using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>Arguments of the kernels in native/tests/planted; the same fields in the same order as in planted.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct PlantedArgs(nint Input, nint Output, nint Scratch, int Count);

/// <summary>A kernel with a bug, its correct twin, and what the emulator must say of the first.</summary>
/// <param name="Name">Of the twin; the kernel with the bug ends in _bug.</param>
/// <param name="File">Source file in native/tests/planted.</param>
/// <param name="Result">What a GPU answers.</param>
/// <param name="Words">Some words of the report.</param>
/// <param name="Expected">Output of the twin by index, from the values of the input by index.</param>
internal sealed record PlantedBug(string Name, string File, CUresult Result, string Words, Func<Func<int, int>, int, int> Expected)
{
    public int Blocks { get; init; } = 1;

    public int Threads { get; init; } = 64;

    /// <summary>Integers in the input and in scratch.</summary>
    public int InputCount { get; init; } = 64;

    /// <summary>Whether scratch holds zeros before the launch, or nothing.</summary>
    public bool ScratchIsWritten { get; init; } = true;

    public int DynamicSharedBytes { get; init; }

    /// <summary>Comment of the lines that a report may name.</summary>
    public string Lines { get; init; } = Name;

    /// <summary>Whether only sm_90a has its instructions.</summary>
    public bool NeedsSm90 => File == "warpgroup";

    /// <summary>The one thread that can be to blame; null when several can.</summary>
    public int? Thread { get; init; }

    /// <summary>The address that the report names, from the addresses of input, output and scratch; null when it is in shared memory or there is none.</summary>
    public Func<PlantedArgs, nint>? Address { get; init; }

    public static PlantedBug[] All { get; } =
    [
        new("missing_barrier", "barriers", CUresult.LaunchFailed, "", (v, i) => v(63 - i)),
        new("missing_syncwarp", "barriers", CUresult.LaunchFailed, "", (v, i) => v(i ^ 31)),
        new("write_after_read", "barriers", CUresult.LaunchFailed, "race", (v, i) => 2 * v(63 - i) + 1),
        new("barrier_deadlock", "barriers", CUresult.LaunchTimeout, "deadlock", (v, i) => v(i)),
        new("infinite_loop", "barriers", CUresult.LaunchTimeout, "watchdog", (v, i) => v(i)),
        new("divergent_shuffle", "barriers", CUresult.LaunchTimeout, "deadlock", (v, i) => v(i ^ 1)),
        new("lane_outside_mask", "barriers", CUresult.IllegalInstruction, "mask", (v, i) => v(i ^ 1)),
        new("missing_copy_wait", "async_copies", CUresult.LaunchFailed, "cp.async", (v, i) => v(4 * i + 1)) { Threads = 32, InputCount = 256 },
        new("miscounted_copy_wait", "async_copies", CUresult.LaunchFailed, "cp.async", (v, i) => v(4 * i) + v(128 + 4 * i)) { Threads = 32, InputCount = 256 },
        new("copy_without_barrier", "async_copies", CUresult.LaunchFailed, "", (v, i) => v(4 * (31 - i))) { Threads = 32, InputCount = 256 },
        new("global_past_end", "addresses", CUresult.IllegalAddress, "", (v, i) => v(i)) { Thread = 63, Address = args => args.Output + 64 * sizeof(int) },
        new("global_before_start", "addresses", CUresult.IllegalAddress, "", (v, i) => v(i)) { Thread = 0, Address = args => args.Output - sizeof(int) },
        new("global_read_past_end", "addresses", CUresult.IllegalAddress, "", (v, i) => v(i)) { Thread = 63, Address = args => args.Input + 64 * sizeof(int) },
        new("shared_past_end", "addresses", CUresult.IllegalAddress, "shared", (v, i) => v(63 - i)) { Thread = 63 },
        new("shared_before_start", "addresses", CUresult.IllegalAddress, "shared", (v, i) => v(63 - i)) { Thread = 0 },
        new("dynamic_shared_past_end", "addresses", CUresult.IllegalAddress, "shared", (v, i) => v(63 - i)) { Thread = 63, DynamicSharedBytes = 64 * sizeof(int) },
        new("misaligned_vector", "addresses", CUresult.MisalignedAddress, "", (v, i) => v(4) + v(5) + v(6) + v(7)) { Address = args => args.Input + sizeof(int) },
        new("unwritten_global", "addresses", CUresult.LaunchFailed, "read of unwritten memory", (v, i) => v(i)) { ScratchIsWritten = false },
        new("unwritten_shared", "addresses", CUresult.LaunchFailed, "read of unwritten memory", (v, i) => v(63 - i)),
        new("two_blocks_one_word", "blocks", CUresult.LaunchFailed, "block", (v, i) => v(i)) { Blocks = 4, InputCount = 256 },
        new("non_atomic_counter", "blocks", CUresult.LaunchFailed, "block", (v, i) => v(i)) { Blocks = 4, InputCount = 256 },
        new("missing_full_wait", "warpgroup", CUresult.LaunchFailed, "", (v, i) => v(127 - i)) { Threads = 128, InputCount = 128 },
        new("early_refill", "warpgroup", CUresult.LaunchFailed, "", (v, i) => i < 128 ? v(127 - i) + v(255 - i) : 0) { Threads = 160, InputCount = 256 },
        new("wrong_expected_bytes", "warpgroup", CUresult.LaunchTimeout, "0 of 1 arrivals and 16 bytes are missing", (v, i) => v(127 - i)) { Threads = 128, InputCount = 128 },
        Product("missing_proxy_fence", "missing proxy fence"),
        Product("missing_fence", "missing wgmma.fence"),
        Product("missing_wait", "before the wait"),
        Product("overwritten_operand", "race in shared memory"),
        Product("half_warpgroup", "ends without what another one"),
    ];

    private static PlantedBug Product(string name, string words) =>
        new(name, "warpgroup", CUresult.LaunchFailed, words, (v, i) => v((i % 4 * 2 + i % 32 / 4) % 64)) { Threads = 128, DynamicSharedBytes = 24 * 1024, Lines = "product" };

    public static PlantedBug Named(string name) => All.Single(bug => bug.Name == name);
}
