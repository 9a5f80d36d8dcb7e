using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Weights that are not quantised; the same fields in the same order as DenseWeights in kf/dense_weights.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DenseWeightsArgs(nint Rows, int Columns, int K, int Stride, int LaneLength)
{
    public static DenseWeightsArgs Of(in DeviceMatrix weights) => new(
        weights.Address, weights.Rows, weights.Columns, weights.RowStride, MatMulLanes.Length(weights.Rows, weights.Columns));
}
