using System.Text.Json;

namespace KernelForge.Tests;

/// <summary>
/// What the emulator counted, by kernel: what holds a kernel to its floor of bytes without a GPU. Counted while the setting count is 1.
/// </summary>
internal sealed record EmulatorCounters(IReadOnlyDictionary<string, KernelCounters> Kernels)
{
    private static readonly JsonSerializerOptions Options = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Work of the launches of a kernel, summed.</summary>
    public KernelCounters this[string kernel] => Kernels[kernel];

    public static EmulatorCounters Parse(string json) => new(JsonSerializer.Deserialize<Dictionary<string, KernelCounters>>(json, Options)!);
}

/// <summary>Work of the launches of one kernel, summed.</summary>
/// <param name="GlobalBytesRead">As the threads ask for them.</param>
/// <param name="GlobalSectorsRead">32-byte sectors per access of a warp: what the memory system moves.</param>
/// <param name="SharedBankConflicts">Passes over shared memory beyond the first of every access of a warp.</param>
/// <param name="UncoalescedAccesses">Accesses of a warp that touch more sectors than their bytes need.</param>
/// <param name="Buffers">By allocation, in order of allocation.</param>
/// <param name="Opcodes">Thread instructions by opcode.</param>
internal sealed record KernelCounters(
    long Launches, long ThreadInstructions, long WarpInstructions, long GlobalBytesRead, long GlobalBytesWritten, long GlobalSectorsRead, long GlobalSectorsWritten,
    long SharedBytesRead, long SharedBytesWritten, long SharedBankConflicts, long UncoalescedAccesses, long MmaInstructions, long Barriers, long Atomics,
    IReadOnlyList<BufferCounters> Buffers, IReadOnlyDictionary<string, long> Opcodes);

/// <summary>Bytes of one allocation that a kernel read and wrote.</summary>
/// <param name="Address">Where it begins.</param>
/// <param name="Bytes">Of the allocation.</param>
internal sealed record BufferCounters(long Id, long Address, long Bytes, long BytesRead, long BytesWritten);
