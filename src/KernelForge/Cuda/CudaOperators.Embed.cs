using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of embed_*; the same fields in the same order as in embed.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct EmbedArgs(nint Rows, nint Table, nint Result, int Columns, int TableStride, int ResultStride);

internal sealed partial class CudaOperators
{
    private const int EmbedThreads = 128; // THREADS in embed.cu

    protected override void EmbedCore(DeviceSpan<int> rows, in DeviceMatrix table, in DeviceMatrix result)
    {
        Check.That(table.DType == result.DType, $"Embed: {table} and {result} given; on CUDA both must have one type");

        var args = new EmbedArgs(rows.Address, table.Address, result.Address, result.Columns, table.RowStride, result.RowStride);
        Kernel("embed", table.DType).Launch(grid: result.Rows, block: EmbedThreads, args);
    }
}
