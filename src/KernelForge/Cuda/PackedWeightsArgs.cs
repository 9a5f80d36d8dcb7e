using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Packed weights; the same fields in the same order as PackedWeights in kf/packed_weights.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct PackedWeightsArgs(nint Codes, nint Scales, nint Zeros, int Columns, int K, int GroupSize, int LaneLength)
{
    public static PackedWeightsArgs Of(PackedWeights weights)
    {
        nint codes = weights.Buffer.Address;
        PackedLayout layout = weights.Layout;
        nint zeros = weights.Format.HasZeroPoints ? codes + (nint)layout.ZerosOffset : 0;
        return new(codes, codes + (nint)layout.ScalesOffset, zeros, weights.N, weights.K, weights.Format.GroupSize, weights.Header.LaneLength);
    }
}
