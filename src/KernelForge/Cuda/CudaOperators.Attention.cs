using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of attention_*; the same fields in the same order as in attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AttentionArgs(
    nint Queries, nint Cache, nint QueryOffsets, nint ContextLengths, nint BlockOffsets, nint BlockTables, nint Result,
    int Sequences, int Group, int KvHeads, int HeadDim, int BlockSize, int QueriesStride, int ResultStride, int ResultIsFloat, float Scale);

internal sealed partial class CudaOperators
{
    private const int AttentionChunk = 32; // CHUNK in attention.cu

    /// <summary>Takes one 16-bit type, head dims up to 256 and a positive scale; the result may be F32. The plan's contents are not read here, nor checked.</summary>
    protected override void AttentionCore(in DeviceMatrix queries, in KvLayer cache, in AttentionPlan plan, float scale, in DeviceMatrix result)
    {
        KvFormat format = cache.Format;
        bool floatResult = result.DType == DType.F32;
        DType type = SameHalf("Attention", queries, cache.Data, floatResult ? default : result);
        Check.That(format.HeadDim <= 256, $"Attention: head_dim is {format.HeadDim}, CUDA takes up to 256");
        Check.That(scale > 0, $"Attention: scale is {scale}, CUDA takes positive ones");

        int group = queries.Columns / (format.KvHeads * format.HeadDim);
        (string variant, int headDim, int warps) = format.HeadDim switch // Sizes in attention.cu
        {
            <= 64 => ("simple_64", 64, 4),
            <= 128 => ("simple_128", 128, 4),
            _ => ("simple_256", 256, 2),
        };
        int rows = warps * 16;
        var args = new AttentionArgs(
            queries.Address, cache.Data.Address, plan.QueryOffsets.Address, plan.ContextLengths.Address, plan.BlockOffsets.Address,
            plan.BlockTables.Address, result.Address, plan.Sequences, group, format.KvHeads, format.HeadDim, format.BlockSize,
            queries.RowStride, result.RowStride, floatResult ? 1 : 0, scale * (float)Math.Log2(Math.E));
        int tiles = checked((int)((long)queries.Rows * group / rows + plan.Sequences));
        Kernel("attention", type, variant).Launch(
            grid: (tiles, format.KvHeads), block: warps * WarpSize, args, headDim * (6 * rows + 4 * AttentionChunk));
    }
}
