namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    /// <summary>Query rows (token and head) that share the tiles they read.</summary>
    private const int AttentionRowsPerItem = 32;

    /// <summary>Multiplications below which handing work to another thread costs more than it saves.</summary>
    private const long AttentionCostPerPart = 128 * 1024;

    protected override void AttentionCore(in DeviceMatrix queries, in KvLayer cache, in AttentionPlan plan, float scale, in DeviceMatrix result)
    {
        CheckPlan(queries, cache, plan);
        long cost = 0;
        ReadOnlySpan<int> offsets = plan.QueryOffsets.OnCpu, contexts = plan.ContextLengths.OnCpu;
        for (int s = 0; s < plan.Sequences; s++)
        {
            long length = offsets[s + 1] - offsets[s];
            cost += length * (contexts[s] + length) * queries.Columns;
        }

        int next = 0;
        Run(new AttentionWork(threads, queries, cache, plan, scale, result, &next), (int)Math.Clamp(cost / AttentionCostPerPart, 1, int.MaxValue));
    }

    private static void CheckPlan(in DeviceMatrix queries, in KvLayer cache, in AttentionPlan plan)
    {
        ReadOnlySpan<int> offsets = plan.QueryOffsets.OnCpu, contexts = plan.ContextLengths.OnCpu, blocks = plan.BlockOffsets.OnCpu;
        Check.That(offsets[0] == 0 && offsets[^1] == queries.Rows,
            $"Attention: plan.QueryOffsets run from {offsets[0]} to {offsets[^1]}, expected 0 to {queries.Rows} query tokens");
        for (int s = 0; s < contexts.Length; s++)
        {
            int length = offsets[s + 1] - offsets[s], given = blocks[s + 1] - blocks[s], size = cache.Format.BlockSize;
            Check.That(length >= 0 && contexts[s] >= 0, $"Attention: sequence {s} has {length} query tokens and a context of {contexts[s]}");
            Check.That(given >= ((long)contexts[s] + length + size - 1) / size && blocks[s] >= 0 && blocks[s + 1] <= plan.BlockTables.Length,
                $"Attention: sequence {s} has {given} blocks of {size} for {contexts[s]} + {length} tokens, in {plan.BlockTables.Length} block ids");
        }

        foreach (int block in plan.BlockTables.OnCpu)
            Check.That((uint)block < (uint)cache.Blocks, $"Attention: block {block} in a block table, the cache has {cache.Blocks}");
    }

    /// <summary>
    /// An item is some consecutive tokens of a sequence with the query heads of one key/value head. Threads take the next item from a shared counter,
    /// the longest items of a sequence first; who computes an item changes no bit.
    /// </summary>
    private readonly struct AttentionWork(
        CpuThreads threads, DeviceMatrix queries, KvLayer cache, AttentionPlan plan, float scale, DeviceMatrix result, int* next) : ILaneWork
    {
        private int GroupHeads => queries.Columns / (cache.Format.KvHeads * cache.Format.HeadDim);

        private int TokensPerItem => Math.Max(1, AttentionRowsPerItem / GroupHeads);

        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            int paddedDim = Lanes.Padded(cache.Format.HeadDim);
            int length = TokensPerItem * GroupHeads * AttentionRow<TLanes>.Length(paddedDim) + AttentionTile<TLanes>.Length(paddedDim);
            float* memory = (float*)threads.Scratch(part, (long)length * sizeof(float));
            int sequence = 0, firstItem = 0;
            while (true)
            {
                int item = Interlocked.Increment(ref *next) - 1;
                while (sequence < plan.Sequences && item - firstItem >= Items(sequence)) firstItem += Items(sequence++);
                if (sequence == plan.Sequences) break;
                int chunk = (Items(sequence) - 1 - (item - firstItem)) / cache.Format.KvHeads, head = (item - firstItem) % cache.Format.KvHeads;
                RunItem<TLanes>(sequence, chunk * TokensPerItem, head, memory, paddedDim);
            }
        }

        private int Items(int sequence)
        {
            ReadOnlySpan<int> offsets = plan.QueryOffsets.OnCpu;
            return (offsets[sequence + 1] - offsets[sequence] + TokensPerItem - 1) / TokensPerItem * cache.Format.KvHeads;
        }

        private void RunItem<TLanes>(int sequence, int firstToken, int kvHead, float* memory, int paddedDim) where TLanes : struct, ILanes<TLanes>
        {
            ReadOnlySpan<int> offsets = plan.QueryOffsets.OnCpu;
            int tokens = Math.Min(TokensPerItem, offsets[sequence + 1] - offsets[sequence] - firstToken), rows = tokens * GroupHeads;
            int firstRow = offsets[sequence] + firstToken, firstPosition = plan.ContextLengths.OnCpu[sequence] + firstToken;
            int rowLength = AttentionRow<TLanes>.Length(paddedDim);
            ReadOnlySpan<int> blocks = plan.BlockTables.OnCpu[plan.BlockOffsets.OnCpu[sequence]..];
            var tile = new AttentionTile<TLanes>(cache, kvHead, memory + rows * rowLength, paddedDim);

            for (int r = 0; r < rows; r++) Row<TLanes>(memory, r, paddedDim).Start(Head(queries, firstRow, kvHead, r), queries.DType, cache.Format.HeadDim);
            int end = firstPosition + tokens;
            for (int split = 0; split < end; split += AttentionRow<TLanes>.SplitSize)
            {
                int splitEnd = Math.Min(split + AttentionRow<TLanes>.SplitSize, end);
                for (int position = split; position < splitEnd; position += AttentionRow<TLanes>.TileSize)
                {
                    tile.Load(blocks, position, splitEnd);
                    for (int r = 0; r < rows; r++)
                    {
                        int visible = Math.Min(firstPosition + r / GroupHeads + 1 - position, AttentionRow<TLanes>.TileSize);
                        if (visible > 0) Row<TLanes>(memory, r, paddedDim).AddTile(tile.Keys, tile.Values, visible, scale);
                    }
                }

                for (int r = 0; r < rows; r++)
                    if (firstPosition + r / GroupHeads >= split) Row<TLanes>(memory, r, paddedDim).FoldSplit();
            }

            for (int r = 0; r < rows; r++) Row<TLanes>(memory, r, paddedDim).Finish(Head(result, firstRow, kvHead, r), result.DType, cache.Format.HeadDim);
        }

        private static AttentionRow<TLanes> Row<TLanes>(float* memory, int row, int paddedDim) where TLanes : struct, ILanes<TLanes> =>
            new(memory + row * AttentionRow<TLanes>.Length(paddedDim), paddedDim);

        /// <summary>Where row r of an item is in a [tokens, heads · head_dim] matrix: token r / group, head r % group of the key/value head.</summary>
        private nint Head(in DeviceMatrix matrix, int firstRow, int kvHead, int r)
        {
            int head = kvHead * GroupHeads + r % GroupHeads;
            return matrix.RowAddress(firstRow + r / GroupHeads) + (nint)head * cache.Format.HeadDim * matrix.DType.Size();
        }
    }
}
