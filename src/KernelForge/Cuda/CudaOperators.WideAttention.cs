using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of wide_attention_*; the same fields in the same order as in wide_items.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct WideAttentionArgs(AttentionItemArgs Plan, int DenseRows, int DensePositions);

internal sealed partial class CudaOperators
{
    private const int DenseBlock = 1 << 30; // more positions than a dense prefix has, a power of two

    /// <summary>
    /// Takes one 16-bit type (the result may be F32), head dims up to 256 that are multiples of 8, a positive scale, and rows of queries, keys and values at
    /// multiples of 16 bytes.
    /// </summary>
    protected override void PrefixAttentionCore(
        in DeviceMatrix queries, in DeviceMatrix keys, in DeviceMatrix values, int kvHeads, float scale, float softCap, in AttentionState result)
    {
        int headDim = keys.Columns / kvHeads, group = queries.Columns / keys.Columns;
        DType type = SameHalf("PrefixAttention", queries, keys, values, result.Out.DType == DType.F32 ? default : result.Out);
        Check.That(headDim % 8 == 0 && headDim <= 256, $"PrefixAttention: head_dim is {headDim}, CUDA takes multiples of 8 up to 256");
        Check.That(TakesHeads(headDim), $"PrefixAttention: head_dim is {headDim}, too many for the shared memory of {device.Name}");
        Check.That(scale > 0, $"PrefixAttention: scale is {scale}, CUDA takes positive ones");
        CheckRows("queries", queries);
        CheckRows("keys", keys);
        CheckRows("values", values);
        Check.That(keys.RowStride == values.RowStride || keys.IsEmpty,
            $"PrefixAttention: rows of keys are {keys.RowStride} elements apart, those of values {values.RowStride}; CUDA takes equal ones");

        int rows = checked(queries.Rows * group);
        var args = new AttentionItemArgs
        {
            Queries = queries.Address,
            Keys = keys.Address,
            Values = values.Address,
            Result = result.Out.Address,
            Lse = result.Lse.Address,
            BlockStride = (long)DenseBlock * keys.RowStride,
            HeadStride = headDim,
            PositionStride = keys.RowStride,
            Group = group,
            KvHeads = kvHeads,
            HeadDim = headDim,
            BlockSize = DenseBlock,
            QueriesStride = queries.RowStride,
            ResultStride = result.Out.RowStride,
            LseStride = result.Lse.RowStride,
            ResultIsFloat = result.Out.DType == DType.F32 ? 1 : 0,
            Scoring = Scoring.Of(scale, softCap),
        };
        LaunchWide(new WideAttentionArgs(args, rows, keys.Rows), blocks: 1, CeilDiv(rows, WideSizes(headDim).Rows), type);

        static void CheckRows(string name, in DeviceMatrix matrix) => Check.That(matrix.IsEmpty || RowsAreAligned(matrix),
            $"PrefixAttention: {name} is {matrix} at address {matrix.Address}, rows {matrix.RowStride} elements apart; CUDA takes rows at multiples of {VectorBytes} bytes");
    }

    /// <summary>The wide items of a plan, pass after pass.</summary>
    private void LaunchWide(in AttentionItemArgs args, AttentionPlan plan, DType type)
    {
        for (int pass = 0; pass < plan.Passes; pass++)
        {
            int grid = plan.WideGrids.Span[pass];
            nint range = plan.Ranges.Slice(pass, 2).Address;
            if (grid > 0) LaunchWide(new WideAttentionArgs(args with { Items = plan.WideItems.Address, ItemRange = range }, 0, 0), plan.Blocks, grid, type);
        }
    }

    /// <summary>Launches the kernel that suits the device and the shape; the cache has so many blocks.</summary>
    private void LaunchWide(in WideAttentionArgs args, int blocks, int grid, DType type)
    {
        if (TakesWarpgroups(args))
        {
            LaunchWideByWarpgroups(args, blocks, grid, type);
            return;
        }
        (string variant, int rows, int sharedBytes) = WideSizes(args.Plan.HeadDim);
        Kernel("wide_attention", type, variant).Launch(grid: (grid, args.Plan.KvHeads), block: rows / 16 * WarpSize, args, sharedBytes);
    }

    /// <summary>Whether wide items can have this head_dim here.</summary>
    private bool TakesHeads(int headDim) =>
        headDim % 8 == 0 && headDim <= 256
        && WideSizes(headDim).SharedBytes <= device.GetAttribute(CudaDeviceAttribute.MaxSharedMemoryPerBlockOptin);

    /// <summary>The variant for a head_dim, its rows of a block and its shared memory: Sizes and Shared in wide_attention.cu.</summary>
    private (string Variant, int Rows, int SharedBytes) WideSizes(int headDim)
    {
        (string variant, int columns, int rows, int stages) = headDim switch
        {
            <= 64 => ("64", 64, 128, 2),
            <= 96 => ("96", 96, 128, 2),
            <= 128 => ("128", 128, 128, 2),
            _ => ("256", 256, 64, 1),
        };
        int tile = TileSize, totals = columns + tile / 2 <= 160 ? 0 : rows * columns * sizeof(float);
        return (variant, rows, totals + 2 * columns * (rows + 2 * stages * tile) + AttentionItem.Ints * sizeof(int) + 2 * tile * sizeof(long));
    }
}
