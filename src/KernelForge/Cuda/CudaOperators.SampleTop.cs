using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of sample_top_*; the same fields in the same order as in sample_top.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct SampleTopArgs(nint Logits, nint Rows, nint Result, int Columns, int Stride, int Count, int Padding);

internal sealed partial class CudaOperators
{
    private const int SampleTopThreads = 256; // THREADS in sample_top.cu

    protected override void SampleTopCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        CheckVocabulary("SampleTop", logits);
        var args = new SampleTopArgs(logits.Address, rows.Address, result.Address, logits.Columns, logits.RowStride, result.Length / logits.Rows, 0);
        Kernel("sample_top", DType.F32).Launch(grid: logits.Rows, block: SampleTopThreads, args);
    }
}
