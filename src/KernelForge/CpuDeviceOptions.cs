using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge;

/// <summary>Vector width that the CPU operators use. All of them give the same bits.</summary>
public enum CpuInstructionSet
{
    /// <summary>No vectors: any processor.</summary>
    Scalar,

    /// <summary>256-bit vectors with fused multiply-add (AVX2 and FMA).</summary>
    Vector256,

    /// <summary>512-bit vectors (AVX-512).</summary>
    Vector512,
}

/// <summary>What <see cref="Device.OpenCpu"/> can be told.</summary>
public sealed record CpuDeviceOptions
{
    /// <summary>Most threads of a device.</summary>
    public const int MaxThreads = 1024;

    /// <summary>Threads that share an operator's work, the caller included; 0 for one per core.</summary>
    public int Threads { get; init; }

    /// <summary>
    /// Whether each thread but the caller's stays on a core of its own. For a machine that does nothing else: a thread whose core is taken by another program waits for it,
    /// and all threads wait for that one. On Linux cores are left out to which another thread of this process is held, such as those of another device; on other systems but
    /// Windows this changes nothing.
    /// </summary>
    public bool Pin { get; init; }

    /// <summary>NUMA nodes to pretend; 0 for those of the machine.</summary>
    internal int Nodes { get; init; }

    /// <summary>Vector width; null for the widest that the machine has.</summary>
    public CpuInstructionSet? InstructionSet { get; init; }

    /// <summary>
    /// Whether the native library is used where it is there and the machine has what it takes: products with <see cref="ActivationPrecision.BF16"/> and
    /// <see cref="ActivationPrecision.Int8"/> become faster by instructions that .NET lacks. The bits are the same, but for BF16 numbers below 2⁻¹²⁶, which it takes for zero.
    /// KERNELFORGE_CPU_LIBRARY in the environment says where the library is, or none.
    /// </summary>
    public bool Native { get; init; } = true;
}

/// <summary>Instruction sets of this machine.</summary>
public static class CpuInstructionSets
{
    /// <summary>The widest set of this machine.</summary>
    public static CpuInstructionSet Best =>
        Vector512.IsHardwareAccelerated && Avx512F.IsSupported ? CpuInstructionSet.Vector512 :
        Vector256.IsHardwareAccelerated && Fma.IsSupported ? CpuInstructionSet.Vector256 :
        CpuInstructionSet.Scalar;
}
