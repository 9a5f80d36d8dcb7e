using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of sample_*; the same fields in the same order as in sample.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct SampleArgs(nint Logits, nint Rows, nint Result, int Columns, int Stride);

internal sealed partial class CudaOperators
{
    private const int SampleThreads = 256; // THREADS in sample.cu
    private const int MaxVocabulary = 1 << 20; // MAX_VOCABULARY in scaled_logits.cuh

    protected override void SampleCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        CheckVocabulary("Sample", logits);
        var args = new SampleArgs(logits.Address, rows.Address, result.Address, logits.Columns, logits.RowStride);
        Kernel("sample", DType.F32).Launch(grid: logits.Rows, block: SampleThreads, args);
    }

    private static void CheckVocabulary(string operation, in DeviceMatrix logits) =>
        Check.That(logits.Columns <= MaxVocabulary, $"{operation}: {logits} given; on CUDA a vocabulary has at most {MaxVocabulary} tokens");
}
