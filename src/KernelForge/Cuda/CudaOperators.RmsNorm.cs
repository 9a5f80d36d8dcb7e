using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of rms_norm_*; the same fields in the same order as in rms_norm.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RmsNormArgs(nint X, nint Weight, nint Result, int Columns, int XStride, int ResultStride, float Epsilon);

/// <summary>Arguments of add_rms_norm_*; the same fields in the same order as in add_rms_norm.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AddRmsNormArgs(
    nint X, nint Residual, nint Weight, nint Result, int Columns, int XStride, int ResidualStride, int ResultStride, float Epsilon);

internal sealed partial class CudaOperators
{
    private const int RmsNormThreads = 256; // THREADS in rms_norm.cu and add_rms_norm.cu

    protected override void RmsNormCore(in DeviceMatrix x, in DeviceMatrix weight, float epsilon, in DeviceMatrix result)
    {
        DType type = SameHalf("RmsNorm", x, weight, result);
        var args = new RmsNormArgs(x.Address, weight.Address, result.Address, x.Columns, x.RowStride, result.RowStride, epsilon);
        Kernel("rms_norm", type).Launch(grid: x.Rows, block: RmsNormThreads, args);
    }

    protected override void AddRmsNormCore(in DeviceMatrix x, in DeviceMatrix residual, in DeviceMatrix weight, float epsilon, in DeviceMatrix result)
    {
        DType type = SameHalf("AddRmsNorm", x, residual, weight, result);
        var args = new AddRmsNormArgs(
            x.Address, residual.Address, weight.Address, result.Address, x.Columns, x.RowStride, residual.RowStride, result.RowStride, epsilon);
        Kernel("add_rms_norm", type).Launch(grid: x.Rows, block: RmsNormThreads, args);
    }
}
