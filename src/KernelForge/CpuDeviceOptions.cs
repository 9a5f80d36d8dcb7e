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

    /// <summary>Vector width; null for the widest that the machine has.</summary>
    public CpuInstructionSet? InstructionSet { get; init; }
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
