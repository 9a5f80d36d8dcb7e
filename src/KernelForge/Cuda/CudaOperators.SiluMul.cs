using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of silu_mul_*; the same fields in the same order as in silu_mul.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct SiluMulArgs(nint Gate, nint Up, nint Result, int Columns, int GateStride, int UpStride, int ResultStride);

internal sealed partial class CudaOperators
{
    private const int SiluMulThreads = 256; // THREADS in silu_mul.cu
    private const int SiluMulColumnsPerBlock = SiluMulThreads * 8;

    protected override void SiluMulCore(in DeviceMatrix gate, in DeviceMatrix up, in DeviceMatrix result)
    {
        DType type = SameHalf("SiluMul", gate, up, result);
        var args = new SiluMulArgs(gate.Address, up.Address, result.Address, gate.Columns, gate.RowStride, up.RowStride, result.RowStride);
        Kernel("silu_mul", type).Launch(grid: (gate.Rows, CeilDiv(gate.Columns, SiluMulColumnsPerBlock)), block: SiluMulThreads, args);
    }
}
