using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>How scores are made; the same fields in the same order as in softmax_state.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct Scoring(float Scale, float Cap, float CapRate)
{
    private const double Log2E = 1.4426950408889634;

    /// <summary>In the exponent of 2.</summary>
    public static Scoring Of(float scale, float softCap) =>
        softCap == 0 ? new Scoring((float)(scale * Log2E), 0, 0) : new Scoring((float)Log2E, softCap, (float)(2 * Log2E * scale / softCap));
}

/// <summary>Arguments of attention_*; the same fields in the same order as in attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AttentionArgs(
    nint Queries, nint Cache, nint QueryOffsets, nint ContextLengths, nint BlockOffsets, nint BlockTables, nint Result,
    int Sequences, int Group, int KvHeads, int HeadDim, int BlockSize, int QueriesStride, int ResultStride, int Window, int ResultIsFloat, Scoring Scoring);

internal sealed partial class CudaOperators
{
    private const int AttentionChunk = 32; // CHUNK in attention.cu
    private const int AttentionSplit = 512; // SPLIT in softmax_state.cuh
    private const int SlotSums = 8; // SLOT_SUMS in attention_items.cuh

    private static readonly Version Hopper = new(9, 0);

    private int TileSize => device.ComputeCapability == Hopper ? 128 : 64; // TILE in softmax_state.cuh

    public override AttentionTiling AttentionTiling(in KvFormat format) => new(
        TileSize, AttentionSplit, format.HeadDim <= 128 ? 128 : 64, TakesNarrow(format) ? NarrowRows : 0,
        device.GetAttribute(CudaDeviceAttribute.MultiprocessorCount), format.HeadDim + SlotSums);

    /// <summary>Takes one 16-bit type, head dims up to 256 and a positive scale; the result may be F32. The batch's contents are not read here, nor checked.</summary>
    protected override void AttentionCore(
        in DeviceMatrix queries, in KvLayer cache, in AttentionBatch batch, float scale, float softCap, in DeviceMatrix result)
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
            queries.Address, cache.Data.Address, batch.QueryOffsets.Address, batch.ContextLengths.Address, batch.BlockOffsets.Address,
            batch.BlockTables.Address, result.Address, batch.Sequences, group, format.KvHeads, format.HeadDim, format.BlockSize,
            queries.RowStride, result.RowStride, batch.Window, floatResult ? 1 : 0, Scoring.Of(scale, softCap));
        int tiles = checked((int)((long)queries.Rows * group / rows + batch.Sequences));
        Kernel("attention", type, variant).Launch(
            grid: (tiles, format.KvHeads), block: warps * WarpSize, args, headDim * (6 * rows + 4 * AttentionChunk));
    }
}
