using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>What becomes of the totals of a product; the same fields in the same order as Epilogue in kf/epilogue.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct EpilogueArgs(nint Bias, nint Residual, nint Result, int Rows, int Columns, int ResultStride, int ResidualStride, int IsGated, int Padding)
{
    public static EpilogueArgs Of(in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, bool isGated = false) => new(
        bias.Address, residual.Address, result.Address, result.Rows, result.Columns, result.RowStride, residual.RowStride, isGated ? 1 : 0, 0);
}
