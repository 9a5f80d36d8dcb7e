using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of accepted_moves_*; the same fields in the same order as in accepted_moves.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AcceptedMovesArgs(nint Rows, nint Offsets, nint Path, nint Slots, nint Targets, nint Moves, int RowCount, int Padding);

internal sealed partial class CudaOperators
{
    private const int AcceptedMovesThreads = 256; // THREADS in accepted_moves.cu

    protected override void AcceptedMovesCore(
        DeviceSpan<DraftRow> rows, in VerifiedDrafts verified, DeviceSpan<int> slots, DeviceSpan<int> targets, DeviceSpan<KvMove> moves)
    {
        var args = new AcceptedMovesArgs(
            rows.Address, verified.Offsets.Address, verified.Path.Address, slots.Address, targets.Address, moves.Address, rows.Length, 0);
        Kernel("accepted_moves", DType.I32).Launch(grid: CeilDiv(rows.Length, AcceptedMovesThreads / WarpSize), block: AcceptedMovesThreads, args);
    }
}
