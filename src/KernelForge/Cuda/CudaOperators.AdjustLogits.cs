using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of adjust_logits_*; the same fields in the same order as in adjust_logits.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AdjustLogitsArgs(nint Logits, nint Adjustments, int Count, int Stride);

internal sealed partial class CudaOperators
{
    private const int AdjustLogitsThreads = 256; // THREADS in adjust_logits.cu

    protected override void AdjustLogitsCore(in DeviceMatrix logits, DeviceSpan<LogitAdjustment> adjustments)
    {
        var args = new AdjustLogitsArgs(logits.Address, adjustments.Address, adjustments.Length, logits.RowStride);
        Kernel("adjust_logits", DType.F32).Launch(grid: CeilDiv(adjustments.Length, AdjustLogitsThreads), block: AdjustLogitsThreads, args);
    }
}
