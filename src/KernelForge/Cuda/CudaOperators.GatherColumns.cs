using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of gather_columns_*; the same fields in the same order as in gather_columns.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct GatherColumnsArgs(nint X, nint Order, nint Result, int Columns, int XStride, int ResultStride, int Padding);

internal sealed partial class CudaOperators
{
    private const int GatherThreads = 256; // as in gather_columns.cu
    private const int MostGridRows = 65_535; // of a grid's second dimension

    /// <summary>Rows of x that the workspace takes with their columns in another order.</summary>
    private static int GatheredRows(in DeviceMatrix x)
    {
        int rows = CudaWorkspace.GatheredBytes / (GatheredStride(x) * x.DType.Size());
        Check.That(rows > 0, $"MatMulPacked: x has {x.Columns} columns, weights with an order take {CudaWorkspace.GatheredBytes / x.DType.Size()} at most");
        return Math.Min(rows, MostGridRows);
    }

    /// <summary>Copies x, at most <see cref="GatheredRows"/> rows, to the workspace with column order[j] as column j; rows start at multiples of 16 bytes.</summary>
    private DeviceMatrix GatherColumns(in DeviceMatrix x, nint order)
    {
        var result = new DeviceMatrix(device.Workspace.Gathered, 0, x.Rows, x.Columns, GatheredStride(x), x.DType);
        var args = new GatherColumnsArgs(x.Address, order, result.Address, x.Columns, x.RowStride, result.RowStride, 0);
        Kernel("gather_columns", x.DType).Launch(grid: (CeilDiv(x.Columns, GatherThreads), x.Rows), block: GatherThreads, args);
        return result;
    }

    private static int GatheredStride(in DeviceMatrix x) => CeilDiv(x.Columns, 8) * 8;
}
