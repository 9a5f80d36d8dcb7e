using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of reject_drafts_*; the same fields in the same order as in reject_drafts.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RejectDraftsArgs(
    nint Logits, nint DraftLogits, nint Rows, nint Drafted, nint Chosen, int Columns, int Stride, int DraftStride, int Padding);

internal sealed partial class CudaOperators
{
    private const int RejectDraftsThreads = 256; // THREADS in reject_drafts.cu

    protected override void RejectDraftsCore(
        in DeviceMatrix logits, in DeviceMatrix draftLogits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> drafted, DeviceSpan<int> chosen)
    {
        CheckVocabulary("RejectDrafts", logits);
        var args = new RejectDraftsArgs(
            logits.Address, draftLogits.IsEmpty ? 0 : draftLogits.Address, rows.Address, drafted.Address, chosen.Address,
            logits.Columns, logits.RowStride, draftLogits.RowStride, 0);
        Kernel("reject_drafts", DType.F32).Launch(grid: logits.Rows, block: RejectDraftsThreads, args);
    }
}
