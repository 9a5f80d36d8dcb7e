using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Flattens a plan into the arrays of a <see cref="StepBatch"/>: packed without padding (Prepacking, arXiv:2404.09529), the plan of its attention among them,
/// one upload for all of them.
/// </summary>
internal sealed class BatchBuilder(PrefixGroupFinder groups)
{
    private readonly List<int> _host = [];

    /// <summary>The batch in memory of <paramref name="arena"/>, valid until it is reset.</summary>
    public StepBatch Build(StepPlan plan, Arena arena)
    {
        ReadOnlySpan<PlanRow> rows = plan.Rows;
        int sampling = 0;
        foreach (ref readonly PlanRow row in rows)
            if (row.Samples) sampling++;

        groups.Find(plan);
        var layout = new Layout(groups.Memory.Length, plan.QueryTokens, sampling);
        CollectionsMarshal.SetCount(_host, layout.Length);
        Span<int> host = CollectionsMarshal.AsSpan(_host);
        groups.Memory.CopyTo(host[layout.Attention]);
        Fill(rows, plan.BlockSize, host[layout.TokenIds], host[layout.Positions], host[layout.Slots], host[layout.LogitTokens]);

        DeviceSpan<int> device = arena.Span<int>(layout.Length);
        device.CopyFrom(host);
        DeviceSpan<int> Part(Range range) => device.Slice(range.Start.Value, range.End.Value - range.Start.Value);
        AttentionPlan attention = groups.On(Part(layout.Attention), arena);
        return new StepBatch(Part(layout.TokenIds), Part(layout.Positions), Part(layout.Slots), attention, Part(layout.LogitTokens));
    }

    /// <summary>Bytes of an arena that a batch of this size takes.</summary>
    /// <param name="attention">Ints of the plan of its attention.</param>
    /// <param name="tokens">Query tokens.</param>
    /// <param name="rows">Sequences.</param>
    public static long ArenaBytes(long attention, int tokens, int rows) => Arena.Rounded((attention + 3L * tokens + rows) * sizeof(int));

    private static void Fill(ReadOnlySpan<PlanRow> rows, int blockSize, Span<int> tokenIds, Span<int> positions, Span<int> slots, Span<int> logitTokens)
    {
        int token = 0, sampling = 0;
        foreach (ref readonly PlanRow row in rows)
        {
            ReadOnlySpan<int> table = row.Sequence.Table.Blocks;
            row.Tokens.CopyTo(tokenIds[token..]);
            for (int position = row.Start; position < row.Start + row.Length; position++, token++)
            {
                positions[token] = position;
                slots[token] = table[position / blockSize] * blockSize + position % blockSize;
            }
            if (row.Samples) logitTokens[sampling++] = token - 1;
        }
    }

    /// <summary>Where each array lies in the one that is uploaded; the plan first, whose items are aligned.</summary>
    private readonly record struct Layout(int AttentionLength, int Tokens, int Sampling)
    {
        public Range Attention => 0..AttentionLength;
        public Range TokenIds => After(Attention, Tokens);
        public Range Positions => After(TokenIds, Tokens);
        public Range Slots => After(Positions, Tokens);
        public Range LogitTokens => After(Slots, Sampling);
        public int Length => LogitTokens.End.Value;

        private static Range After(Range previous, int length) => previous.End.Value..(previous.End.Value + length);
    }
}
