using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of matmul_packed_*; the same fields in the same order as in matmul_packed.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MatMulPackedArgs(nint X, PackedWeightsArgs Weights, EpilogueArgs Epilogue, int XStride, int Padding);

internal sealed partial class CudaOperators
{
    /// <summary>Takes one 16-bit type; result and residual may be F32.</summary>
    protected override void MatMulPackedCore(
        in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations)
    {
        DType type = SameHalf("MatMulPacked", x, bias, result.DType == DType.F32 ? default : result);
        if (!weights.HasOrder)
        {
            LaunchPacked(x, weights, result, bias, residual, type);
            return;
        }

        nint order = weights.Buffer.Address + (nint)weights.Layout.OrderOffset;
        int most = GatheredRows(x);
        for (int row = 0; row < x.Rows; row += most)
        {
            int rows = Math.Min(most, x.Rows - row);
            DeviceMatrix gathered = GatherColumns(x.SliceRows(row, rows), order);
            LaunchPacked(gathered, weights, result.SliceRows(row, rows), bias, residual.IsEmpty ? residual : residual.SliceRows(row, rows), type);
        }
    }

    /// <summary>Launches the kernel that suits the number of rows; columns of x are in the order of the weights.</summary>
    private void LaunchPacked(
        in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        switch (PathOf(x))
        {
            case MatMulPath.Narrow: NarrowMatMul(x, weights, result, bias, residual, type); break;
            case MatMulPath.Wide: WideMatMul(x, weights, result, bias, residual, type); break;
            case MatMulPath.Warpgroups: WarpgroupMatMul(x, weights, result, bias, residual, type); break;
            default: SimpleMatMul(x, weights, result, bias, residual, type); break;
        }
    }

    private void SimpleMatMul(in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, DType type)
    {
        var args = new MatMulPackedArgs(
            x.Address, PackedWeightsArgs.Of(weights), EpilogueArgs.Of(result, bias, residual, weights.IsGated), x.RowStride, 0);
        Kernel("matmul_packed", type, SimpleVariant(weights.Format.Bits, result.DType == DType.F32)).Launch(
            grid: (CeilDiv(weights.N, MatMulBlockColumns), CeilDiv(x.Rows, MatMulBlockRows)), block: MatMulThreads, args);
    }

    private static string SimpleVariant(int bits, bool floatResult) => (bits, floatResult) switch
    {
        (4, false) => "w4_simple",
        (4, true) => "f32_w4_simple",
        (_, false) => "w8_simple",
        (_, true) => "f32_w8_simple",
    };
}
