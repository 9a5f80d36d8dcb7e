using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of verify_drafts_*; the same fields in the same order as in verify_drafts.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct VerifyDraftsArgs(
    nint Rows, nint Parents, nint Tokens, nint Chosen, nint Stops,
    nint ActiveCount, nint Offsets, nint Lengths, nint Blocks, nint Ends, nint Active, nint Gained, nint Path,
    int RowCount, int BlockSize);

internal sealed partial class CudaOperators
{
    private const int MostVerifyDraftsThreads = 1024; // MOST_THREADS in verify_drafts.cu

    protected override void VerifyDraftsCore(
        DeviceSpan<DraftRow> rows, DeviceSpan<int> parents, DeviceSpan<int> tokens, DeviceSpan<int> chosen, DeviceSpan<int> stops, int blockSize,
        in VerifiedDrafts result)
    {
        var args = new VerifyDraftsArgs(
            rows.Address, parents.Address, tokens.Address, chosen.Address, stops.Address,
            result.ActiveCount.Address, result.Offsets.Address, result.Lengths.Address, result.Blocks.Address, result.Ends.Address,
            result.Active.Address, result.Tokens.Address, result.Path.Address,
            rows.Length, blockSize);
        int threads = Math.Min(CeilDiv(rows.Length, WarpSize) * WarpSize, MostVerifyDraftsThreads);
        Kernel("verify_drafts", DType.I32).Launch(grid: 1, block: threads, args);
    }
}
