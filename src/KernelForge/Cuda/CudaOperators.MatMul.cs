using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of matmul_*; the same fields in the same order as in matmul.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MatMulArgs(
    nint X, nint Weights, nint Bias, nint Result,
    int Rows, int Columns, int K, int XStride, int WeightsStride, int ResultStride, int LaneLength);

internal sealed partial class CudaOperators
{
    private const int MatMulBlockRows = 64, MatMulBlockColumns = 64, MatMulThreads = 128; // as in matmul.cu

    /// <summary>Takes one 16-bit type; the result may be F32.</summary>
    protected override void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias)
    {
        bool floatResult = result.DType == DType.F32;
        DType type = SameHalf("MatMul", x, weights, bias, floatResult ? default : result);
        var args = new MatMulArgs(
            x.Address, weights.Address, bias.Address, result.Address, x.Rows, weights.Rows, x.Columns,
            x.RowStride, weights.RowStride, result.RowStride, MatMulLanes.Length(weights.Rows, weights.Columns));
        Kernel("matmul", type, floatResult ? "f32_simple" : "simple").Launch(
            grid: (CeilDiv(weights.Rows, MatMulBlockColumns), CeilDiv(x.Rows, MatMulBlockRows)), block: MatMulThreads, args);
    }
}
