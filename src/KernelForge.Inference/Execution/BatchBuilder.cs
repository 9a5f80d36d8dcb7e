using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Flattens a plan into the arrays of a <see cref="StepBatch"/>: packed without padding (Prepacking, arXiv:2404.09529), one upload for all of them.
/// </summary>
internal sealed class BatchBuilder
{
    private readonly List<int> _host = [];

    /// <summary>The batch in memory of <paramref name="arena"/>, valid until it is reset.</summary>
    public StepBatch Build(StepPlan plan, Arena arena)
    {
        ReadOnlySpan<PlanRow> rows = plan.Rows;
        int tokens = plan.QueryTokens, sampling = 0, blocks = 0;
        foreach (ref readonly PlanRow row in rows)
        {
            if (row.Samples) sampling++;
            blocks += row.Sequence.Table.Count;
        }

        var layout = new Layout(tokens, rows.Length, sampling, blocks);
        CollectionsMarshal.SetCount(_host, layout.Length);
        Span<int> host = CollectionsMarshal.AsSpan(_host);
        Fill(rows, plan.BlockSize, layout, host);

        DeviceSpan<int> device = arena.Span<int>(layout.Length);
        device.CopyFrom(host);
        DeviceSpan<int> Part(Range range) => device.Slice(range.Start.Value, range.End.Value - range.Start.Value);
        var attention = new AttentionBatch(Part(layout.QueryOffsets), Part(layout.ContextLengths), Part(layout.BlockOffsets), Part(layout.BlockTables));
        return new StepBatch(Part(layout.TokenIds), Part(layout.Positions), Part(layout.Slots), attention, Part(layout.LogitTokens));
    }

    /// <summary>Bytes of an arena that a batch of this size takes.</summary>
    public static long ArenaBytes(int tokens, int rows, int blocks) => Arena.Rounded((long)new Layout(tokens, rows, rows, blocks).Length * sizeof(int));

    private static void Fill(ReadOnlySpan<PlanRow> rows, int blockSize, in Layout layout, Span<int> host)
    {
        Span<int> tokenIds = host[layout.TokenIds], positions = host[layout.Positions], slots = host[layout.Slots];
        Span<int> queryOffsets = host[layout.QueryOffsets], blockOffsets = host[layout.BlockOffsets], blockTables = host[layout.BlockTables];
        Span<int> contextLengths = host[layout.ContextLengths], logitTokens = host[layout.LogitTokens];

        int token = 0, block = 0, sampling = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            ref readonly PlanRow row = ref rows[i];
            ReadOnlySpan<int> table = row.Sequence.Table.Blocks;
            (queryOffsets[i], blockOffsets[i], contextLengths[i]) = (token, block, row.Start);
            row.Tokens.CopyTo(tokenIds[token..]);
            for (int position = row.Start; position < row.Start + row.Length; position++, token++)
            {
                positions[token] = position;
                slots[token] = table[position / blockSize] * blockSize + position % blockSize;
            }
            table.CopyTo(blockTables[block..]);
            block += table.Length;
            if (row.Samples) logitTokens[sampling++] = token - 1;
        }
        (queryOffsets[rows.Length], blockOffsets[rows.Length]) = (token, block);
    }

    /// <summary>Where each array lies in the one that is uploaded.</summary>
    private readonly record struct Layout(int Tokens, int Rows, int Sampling, int Blocks)
    {
        public Range TokenIds => 0..Tokens;
        public Range Positions => Tokens..(2 * Tokens);
        public Range Slots => (2 * Tokens)..(3 * Tokens);
        public Range QueryOffsets => (3 * Tokens)..(3 * Tokens + Rows + 1);
        public Range BlockOffsets => After(QueryOffsets, Rows + 1);
        public Range ContextLengths => After(BlockOffsets, Rows);
        public Range LogitTokens => After(ContextLengths, Sampling);
        public Range BlockTables => After(LogitTokens, Blocks);
        public int Length => BlockTables.End.Value;

        private static Range After(Range previous, int length) => previous.End.Value..(previous.End.Value + length);
    }
}
