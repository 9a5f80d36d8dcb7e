namespace KernelForge.Cuda;

internal sealed partial class CudaOperators
{
    private const int VectorBytes = 16;

    /// <summary>
    /// Launches the plan: wide items pass after pass, then narrow items, then what is left to fold. Takes what attention without a plan takes. Shapes that
    /// the kernels of items do not take (<see cref="TakesItems"/>) are computed without the plan, with the same bits.
    /// </summary>
    protected override void AttentionCore(
        in DeviceMatrix queries, in KvLayer cache, AttentionPlan plan, float scale, float softCap, in DeviceMatrix result)
    {
        if (!TakesItems(queries, cache))
        {
            AttentionCore(queries, cache, plan.Batch, scale, softCap, result);
            return;
        }

        DType type = SameHalf("Attention", queries, cache.Data, result.DType == DType.F32 ? default : result);
        Check.That(scale > 0, $"Attention: scale is {scale}, CUDA takes positive ones");
        AttentionItemArgs args = ItemArgs(queries, cache, plan, scale, softCap, result);
        LaunchWide(args, plan, type);
        LaunchNarrow(args, plan, type);
        LaunchFold(args, plan, type);
    }

    /// <summary>Whether head_dim, alignment and shared memory are those that the kernels of items are made for.</summary>
    private bool TakesItems(in DeviceMatrix queries, in KvLayer cache) =>
        TakesHeads(cache.Format.HeadDim) && RowsAreAligned(queries) && RowsAreAligned(cache.Data);

    /// <summary>Whether all rows start at a multiple of 16 bytes.</summary>
    private static bool RowsAreAligned(in DeviceMatrix matrix) =>
        matrix.Address % VectorBytes == 0 && matrix.RowStride * (long)matrix.DType.Size() % VectorBytes == 0;

    /// <summary>What all launches of a plan have in common.</summary>
    private static AttentionItemArgs ItemArgs(
        in DeviceMatrix queries, in KvLayer cache, AttentionPlan plan, float scale, float softCap, in DeviceMatrix result)
    {
        KvFormat format = cache.Format;
        int headStride = checked(format.BlockSize * format.HeadDim);
        nint outputs = plan.Workspace.Address, outputFloats = checked((nint)plan.KvHeads * plan.Slots * plan.HeadDim);
        return new AttentionItemArgs
        {
            Queries = queries.Address,
            Keys = cache.Data.Address,
            Values = cache.Data.RowAddress(cache.ValueRow(0, 0)),
            Result = result.Address,
            RowTokens = plan.RowTokens.Address,
            RowPositions = plan.RowPositions.Address,
            BlockTables = plan.Batch.BlockTables.Address,
            Folds = plan.Folds.Address,
            Outputs = outputs,
            Sums = outputs + outputFloats * sizeof(float),
            BlockStride = 2L * format.KvHeads * headStride,
            HeadStride = headStride,
            PositionStride = format.HeadDim,
            Group = plan.Group,
            KvHeads = plan.KvHeads,
            HeadDim = plan.HeadDim,
            BlockSize = format.BlockSize,
            Slots = plan.Slots,
            QueriesStride = queries.RowStride,
            ResultStride = result.RowStride,
            Window = plan.Batch.Window,
            ResultIsFloat = result.DType == DType.F32 ? 1 : 0,
            Scoring = Scoring.Of(scale, softCap),
        };
    }
}
