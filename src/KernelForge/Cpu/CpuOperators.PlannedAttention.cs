namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    /// <summary>Bytes of an item's rows that stay in the second-level cache while tiles stream through it.</summary>
    private const int AttentionItemBytes = 512 * 1024;

    /// <summary>Rows of an item: the most of them, and those that make reading cheap beside computing.</summary>
    private const int MostAttentionRows = 256, ManyAttentionRows = 64;

    /// <remarks>
    /// Where there are fewer heads than threads, items have fewer rows, so that there are more items. Twice as many of them as threads even out what is not a multiple.
    /// </remarks>
    public override AttentionTiling AttentionTiling(in KvFormat format)
    {
        int paddedDim = Lanes.Padded(format.HeadDim), rowBytes = AttentionRowMemory.RowLength(paddedDim) * sizeof(float);
        int most = format.KvHeads < threads.Count ? ManyAttentionRows : MostAttentionRows;
        return new AttentionTiling(
            AttentionRow<LanesScalar>.TileSize, AttentionRow<LanesScalar>.SplitSize, Math.Clamp(AttentionItemBytes / rowBytes / 16 * 16, 16, most), 0,
            threads.Count > 1 ? 2 * threads.Count : 1, AttentionRow<LanesScalar>.SlotLength(paddedDim)) { Rates = AttentionRates.Cpu };
    }

    protected override void AttentionCore(
        in DeviceMatrix queries, in KvLayer cache, AttentionPlan plan, float scale, float softCap, in DeviceMatrix result)
    {
        CheckPlan(queries, cache, plan);
        var heads = new AttentionHeads(queries, KvSource.Of(cache), cache.Format.KvHeads, new AttentionScoring(scale, softCap), result, default);
        ReadOnlySpan<int> ranges = plan.Ranges.OnCpu;
        for (int pass = 0; pass < plan.Passes; pass++)
        {
            (int first, int count, int next) = (ranges[pass], ranges[pass + 1] - ranges[pass], 0);
            long products = 0;
            foreach (ref readonly AttentionItem item in plan.WideItems.OnCpu.Slice(first, count))
                products += (long)item.Rows * (item.End - item.First) * heads.KvHeads * cache.Format.HeadDim;
            Run(new AttentionItemWork(threads, heads, plan, first, count, &next), AttentionParts(products));
        }

        int merges = ranges[plan.Passes + 4];
        if (merges > 0) Run(new AttentionMergeWork(threads, heads, plan, merges), merges * heads.KvHeads);
    }

    /// <summary>A plan of fixed capacity has room behind what its step needs; only what the ranges name is looked at.</summary>
    private static void CheckPlan(in DeviceMatrix queries, in KvLayer cache, AttentionPlan plan)
    {
        int tokens = plan.Batch.QueryOffsets.OnCpu[^1], rows = tokens * plan.Group, items = plan.Ranges.OnCpu[plan.Passes];
        Check.That(tokens <= plan.Tokens, $"Attention: the plan's batch has {tokens} query tokens, the plan has {plan.Tokens}");
        CheckBatch(queries.SliceRows(0, tokens), cache, plan.Batch);
        Check.That(plan.Workspace.Length >= (long)plan.KvHeads * plan.Slots * plan.Tiling.SlotFloats,
            $"Attention: the plan's workspace has {plan.Workspace.Length} floats, expected {plan.KvHeads} * {plan.Slots} * {plan.Tiling.SlotFloats}");
        foreach (int token in plan.RowTokens.OnCpu[..tokens]) Check.That((uint)token < (uint)tokens, $"Attention: the plan names token {token} of {tokens}");
        foreach (ref readonly AttentionItem item in plan.WideItems.OnCpu[..items]) CheckItem(plan, item, rows);
    }

    private static void CheckItem(AttentionPlan plan, in AttentionItem item, int rows)
    {
        int blocks = plan.Batch.BlockTables.Length;
        bool isInside = item.FirstRow >= 0 && item.Rows >= 0 && item.Rows <= plan.Tiling.WideRows && item.FirstRow <= rows - item.Rows
            && item.First >= 0 && item.Table >= 0 && item.Table <= blocks - ((long)item.End + plan.BlockSize - 1) / plan.BlockSize;
        Check.That(isInside && HasSlots(plan, item, item.CarryIn) && HasSlots(plan, item, item.CarryOut) && HasSlots(plan, item, item.RecordOut),
            $"Attention: an item of the plan has rows {item.FirstRow} + {item.Rows} of {rows}, positions {item.First} .. {item.End} from block id {item.Table} of {blocks}, "
            + $"slots {item.CarryIn}, {item.CarryOut}, {item.RecordOut} of {plan.Slots}");
    }

    private static bool HasSlots(AttentionPlan plan, in AttentionItem item, int slotBase) => slotBase == AttentionItem.NoSlot
        || ((long)slotBase + item.FirstRow >= 0 && (long)slotBase + item.FirstRow + item.Rows <= plan.Slots);

    /// <summary>Where a plan's rows come from and what they leave to each other.</summary>
    private readonly struct PlannedRows(AttentionHeads heads, AttentionPlan plan, int kvHead)
    {
        /// <summary>Starts a row of the plan with the total of a list of records.</summary>
        public void Start<TLanes>(AttentionRow<TLanes> row, int r, int foldStart, int foldCount) where TLanes : struct, ILanes<TLanes>
        {
            int token = r / heads.Group;
            heads.Start(row, QueryRow(r), kvHead, SeenFrom(plan.RowPositions.OnCpu[token], plan.Batch.Window));
            foreach (int slotBase in plan.Folds.OnCpu.Slice(foldStart, foldCount)) row.FoldRecord(Slot(slotBase + r));
        }

        public void Finish<TLanes>(AttentionRow<TLanes> row, int r) where TLanes : struct, ILanes<TLanes> => heads.Finish(row, QueryRow(r), kvHead);

        public float* Slot(int slot) => (float*)plan.Workspace.Address + ((nint)kvHead * plan.Slots + slot) * plan.Tiling.SlotFloats;

        /// <summary>The row of queries and result that is row r of the plan.</summary>
        private int QueryRow(int r) => plan.RowTokens.OnCpu[r / heads.Group] * heads.Group + r % heads.Group;
    }

    /// <summary>The items of a pass, each for every key/value head. Threads take the next from a shared counter.</summary>
    private readonly struct AttentionItemWork(CpuThreads threads, AttentionHeads heads, AttentionPlan plan, int firstItem, int count, int* next) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            float* memory = heads.Scratch<TLanes>(threads, part, plan.Tiling.WideRows);
            while (true)
            {
                (int item, int kvHead) = Math.DivRem(Interlocked.Increment(ref *next) - 1, heads.KvHeads);
                if (item >= count) break;
                RunItem<TLanes>(plan.WideItems.OnCpu[firstItem + item], kvHead, memory);
            }
        }

        private void RunItem<TLanes>(in AttentionItem item, int kvHead, float* memory) where TLanes : struct, ILanes<TLanes>
        {
            var planned = new PlannedRows(heads, plan, kvHead);
            AttentionItemRows<TLanes> rows = heads.Rows<TLanes>(memory, item.Rows);
            for (int r = 0; r < item.Rows; r++)
            {
                planned.Start(rows[r], item.FirstRow + r, item.FoldStart, item.FoldCount);
                if (item.CarryIn != AttentionItem.NoSlot) rows[r].LoadCarry(planned.Slot(item.CarryIn + item.FirstRow + r));
            }

            bool leaveOpen = item.CarryOut != AttentionItem.NoSlot, isRecord = item.RecordOut != AttentionItem.NoSlot;
            rows.Walk(heads.Tile<TLanes>(memory, item.Rows, kvHead), plan.Batch.BlockTables.OnCpu[item.Table..], item.First, item.End, leaveOpen, heads.Scoring);
            for (int r = 0; r < item.Rows; r++)
            {
                int row = item.FirstRow + r;
                if (leaveOpen) rows[r].StoreCarry(planned.Slot(item.CarryOut + row));
                if (isRecord) rows[r].StoreRecord(planned.Slot(item.RecordOut + row));
                if (!leaveOpen && !isRecord) planned.Finish(rows[r], row);
            }
        }
    }

    /// <summary>The merges of a plan, each for every key/value head.</summary>
    private readonly struct AttentionMergeWork(CpuThreads threads, AttentionHeads heads, AttentionPlan plan, int merges) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            AttentionRow<TLanes> row = heads.Rows<TLanes>(heads.Scratch<TLanes>(threads, part, 1), 1)[0];
            RowRange range = RowRange.Of(merges * heads.KvHeads, part, parts);
            for (int i = range.Start; i < range.End; i++)
            {
                AttentionMerge merge = plan.Merges.OnCpu[i / heads.KvHeads];
                var planned = new PlannedRows(heads, plan, i % heads.KvHeads);
                for (int r = merge.FirstRow; r < merge.FirstRow + merge.Rows; r++)
                {
                    planned.Start(row, r, merge.FoldStart, merge.FoldCount);
                    planned.Finish(row, r);
                }
            }
        }
    }
}
