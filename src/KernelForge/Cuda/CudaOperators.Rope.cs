using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of rope_*; the same fields in the same order as in rope.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RopeArgs(nint X, nint Positions, nint Angles, int Heads, int HeadDim, int XStride, int AnglesStride);

internal sealed partial class CudaOperators
{
    private const int RopeThreads = 128; // THREADS in rope.cu

    /// <summary>Takes a 16-bit type. Positions are not read here, nor checked.</summary>
    protected override void RopeCore(in DeviceMatrix x, DeviceSpan<int> positions, in DeviceMatrix angles)
    {
        DType type = SameHalf("Rope", x);
        int headDim = angles.Columns;
        var args = new RopeArgs(x.Address, positions.Address, angles.Address, x.Columns / headDim, headDim, x.RowStride, angles.RowStride);
        Kernel("rope", type).Launch(grid: x.Rows, block: RopeThreads, args);
    }
}
