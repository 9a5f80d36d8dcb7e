namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    /// <summary>Query rows (token and head) that share the tiles they read, without a plan.</summary>
    private const int AttentionRowsPerItem = 32;

    /// <summary>Multiplications below which handing work to another thread costs more than it saves.</summary>
    private const long AttentionCostPerPart = 128 * 1024;

    protected override void AttentionCore(
        in DeviceMatrix queries, in KvLayer cache, in AttentionBatch batch, float scale, float softCap, in DeviceMatrix result)
    {
        CheckBatch(queries, cache, batch);
        long products = 0;
        ReadOnlySpan<int> offsets = batch.QueryOffsets.OnCpu, contexts = batch.ContextLengths.OnCpu;
        for (int s = 0; s < batch.Sequences; s++)
        {
            long length = offsets[s + 1] - offsets[s];
            products += length * (contexts[s] + length) * queries.Columns;
        }

        int next = 0;
        var heads = new AttentionHeads(queries, KvSource.Of(cache), cache.Format.KvHeads, new AttentionScoring(scale, softCap), result, default);
        Run(new AttentionWork(threads, heads, batch, &next), AttentionParts(products));
    }

    private static int AttentionParts(long products) => (int)Math.Clamp(products / AttentionCostPerPart, 1, int.MaxValue);

    private static void CheckBatch(in DeviceMatrix queries, in KvLayer cache, in AttentionBatch batch)
    {
        ReadOnlySpan<int> offsets = batch.QueryOffsets.OnCpu, contexts = batch.ContextLengths.OnCpu, blocks = batch.BlockOffsets.OnCpu;
        Check.That(offsets[0] == 0 && offsets[^1] == queries.Rows,
            $"Attention: batch.QueryOffsets run from {offsets[0]} to {offsets[^1]}, expected 0 to {queries.Rows} query tokens");
        for (int s = 0; s < contexts.Length; s++)
        {
            int length = offsets[s + 1] - offsets[s], given = blocks[s + 1] - blocks[s], size = cache.Format.BlockSize;
            Check.That(length >= 0 && contexts[s] >= 0, $"Attention: sequence {s} has {length} query tokens and a context of {contexts[s]}");
            Check.That(given >= ((long)contexts[s] + length + size - 1) / size && blocks[s] >= 0 && blocks[s + 1] <= batch.BlockTables.Length,
                $"Attention: sequence {s} has {given} blocks of {size} for {contexts[s]} + {length} tokens, in {batch.BlockTables.Length} block ids");
        }

        foreach (int block in batch.BlockTables.OnCpu)
            Check.That((uint)block < (uint)cache.Blocks, $"Attention: block {block} in a block table, the cache has {cache.Blocks}");
    }

    /// <summary>
    /// An item is some consecutive tokens of a sequence with the query heads of one key/value head. Threads take the next item from a shared counter,
    /// the longest items of a sequence first; who computes an item changes no bit.
    /// </summary>
    private readonly struct AttentionWork(CpuThreads threads, AttentionHeads heads, AttentionBatch batch, int* next) : ILaneWork
    {
        private int TokensPerItem => Math.Max(1, AttentionRowsPerItem / heads.Group);

        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            float* memory = heads.Scratch<TLanes>(threads, part, TokensPerItem * heads.Group);
            int sequence = 0, firstItem = 0;
            while (true)
            {
                int item = Interlocked.Increment(ref *next) - 1;
                while (sequence < batch.Sequences && item - firstItem >= Items(sequence)) firstItem += Items(sequence++);
                if (sequence == batch.Sequences) break;
                int chunk = (Items(sequence) - 1 - (item - firstItem)) / heads.KvHeads, kvHead = (item - firstItem) % heads.KvHeads;
                RunItem<TLanes>(sequence, chunk * TokensPerItem, kvHead, memory);
            }
        }

        private int Items(int sequence)
        {
            ReadOnlySpan<int> offsets = batch.QueryOffsets.OnCpu;
            return (offsets[sequence + 1] - offsets[sequence] + TokensPerItem - 1) / TokensPerItem * heads.KvHeads;
        }

        private void RunItem<TLanes>(int sequence, int firstToken, int kvHead, float* memory) where TLanes : struct, ILanes<TLanes>
        {
            ReadOnlySpan<int> offsets = batch.QueryOffsets.OnCpu, blocks = batch.BlockTables.OnCpu[batch.BlockOffsets.OnCpu[sequence]..];
            int tokens = Math.Min(TokensPerItem, offsets[sequence + 1] - offsets[sequence] - firstToken), count = tokens * heads.Group;
            int firstRow = (offsets[sequence] + firstToken) * heads.Group, firstPosition = batch.ContextLengths.OnCpu[sequence] + firstToken;
            AttentionItemRows<TLanes> rows = heads.Rows<TLanes>(memory, count);
            for (int r = 0; r < count; r++) heads.Start(rows[r], firstRow + r, kvHead, SeenFrom(firstPosition + r / heads.Group, batch.Window));

            AttentionTile<TLanes> tile = heads.Tile<TLanes>(memory, count, kvHead);
            int first = SeenFrom(firstPosition, batch.Window).First / AttentionRow<TLanes>.SplitSize * AttentionRow<TLanes>.SplitSize;
            rows.Walk(tile, blocks, first, firstPosition + tokens, leaveOpen: false, heads.Scoring);
            for (int r = 0; r < count; r++) heads.Finish(rows[r], firstRow + r, kvHead);
        }
    }

    /// <summary>The positions that a token sees.</summary>
    private static (int First, int Last) SeenFrom(int position, int window) => (window > 0 ? Math.Max(0, position - window + 1) : 0, position);
}
