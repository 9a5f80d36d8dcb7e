namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void PrefixAttentionCore(
        in DeviceMatrix queries, in DeviceMatrix keys, in DeviceMatrix values, int kvHeads, float scale, float softCap, in AttentionState result)
    {
        int headDim = keys.Columns / kvHeads, next = 0;
        var heads = new AttentionHeads(
            queries, KvSource.Of(keys, values, headDim), kvHeads, new AttentionScoring(scale, softCap), result.Out, result.Lse);
        int rows = Math.Min(queries.Rows * heads.Group, AttentionTiling(new KvFormat(1, kvHeads, headDim, keys.DType)).WideRows);
        Run(new PrefixAttentionWork(threads, heads, queries.Rows * heads.Group, keys.Rows, rows, &next), AttentionParts((long)queries.Rows * queries.Columns * keys.Rows));
    }

    /// <summary>An item is some rows of a key/value head, which read its keys and values together. Threads take the next from a shared counter.</summary>
    private readonly struct PrefixAttentionWork(
        CpuThreads threads, AttentionHeads heads, int count, int prefix, int rowsPerItem, int* next) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            float* memory = heads.Scratch<TLanes>(threads, part, rowsPerItem);
            while (true)
            {
                (int item, int kvHead) = Math.DivRem(Interlocked.Increment(ref *next) - 1, heads.KvHeads);
                if ((long)item * rowsPerItem >= count) break;
                RunItem<TLanes>(item * rowsPerItem, Math.Min(rowsPerItem, count - item * rowsPerItem), kvHead, memory);
            }
        }

        private void RunItem<TLanes>(int firstRow, int itemRows, int kvHead, float* memory) where TLanes : struct, ILanes<TLanes>
        {
            AttentionItemRows<TLanes> rows = heads.Rows<TLanes>(memory, itemRows);
            for (int r = 0; r < itemRows; r++) heads.Start(rows[r], firstRow + r, kvHead, (0, prefix - 1));
            rows.Walk(heads.Tile<TLanes>(memory, itemRows, kvHead), [0], 0, prefix, leaveOpen: false, heads.Scoring);
            for (int r = 0; r < itemRows; r++) heads.Finish(rows[r], firstRow + r, kvHead);
        }
    }
}
