using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of argmax_*; the same fields in the same order as in argmax.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct ArgMaxArgs(nint Logits, nint Result, int Columns, int Stride);

internal sealed partial class CudaOperators
{
    private const int ArgMaxThreads = 256; // THREADS in argmax.cu

    protected override void ArgMaxCore(in DeviceMatrix logits, DeviceSpan<int> result)
    {
        var args = new ArgMaxArgs(logits.Address, result.Address, logits.Columns, logits.RowStride);
        Kernel("argmax", logits.DType).Launch(grid: logits.Rows, block: ArgMaxThreads, args);
    }
}
