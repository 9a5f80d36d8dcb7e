using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Gathers the sequences of a pass over a model and flattens them into the arrays of a <see cref="StepBatch"/>: packed without padding (Prepacking,
/// arXiv:2404.09529), the plan of its attention among them, one upload for all of them.
/// </summary>
internal sealed class BatchBuilder(PrefixGroupFinder groups, int blockSize)
{
    private readonly List<int> _queryOffsets = [], _contextLengths = [], _blockOffsets = [], _blockTables = [];
    private readonly List<int> _tokens = [], _positions = [], _slots = [], _sources = [], _logitTokens = [];
    private readonly List<int> _host = [];
    private int _position;
    private bool _hasProposals;

    /// <summary>Query tokens so far.</summary>
    public int Tokens => _tokens.Count;

    /// <summary>Tokens whose logits are wanted, so far.</summary>
    public int LogitRows => _logitTokens.Count;

    /// <summary>Bytes of an arena that a batch of this size takes.</summary>
    /// <param name="attention">Ints of the plan of its attention.</param>
    /// <param name="tokens">Query tokens.</param>
    /// <param name="logitRows">Tokens whose logits are wanted.</param>
    public static long ArenaBytes(long attention, int tokens, int logitRows) => Arena.Rounded((attention + 4L * tokens + logitRows) * sizeof(int));

    /// <summary>Forgets the last batch.</summary>
    public void Clear()
    {
        foreach (List<int> list in (ReadOnlySpan<List<int>>)[_queryOffsets, _contextLengths, _blockOffsets, _blockTables, _tokens, _positions, _slots, _sources, _logitTokens])
            list.Clear();
        _hasProposals = false;
    }

    /// <summary>Adds the rows of a plan without drafts; logits are wanted of the last token of every row that samples.</summary>
    public void AddRows(StepPlan plan)
    {
        foreach (ref readonly PlanRow row in plan.Rows)
        {
            AddRow(row);
            if (row.Samples) WantLogits(Tokens - 1);
        }
    }

    /// <summary>Adds the tokens of a row.</summary>
    public void AddRow(in PlanRow row)
    {
        BeginSequence(row.Sequence.Table.Blocks, row.Start);
        Add(row.Tokens);
    }

    /// <summary>Begins a sequence whose keys and values are in these blocks and whose first query token is at that position.</summary>
    public void BeginSequence(ReadOnlySpan<int> blocks, int start)
    {
        _queryOffsets.Add(_tokens.Count);
        _contextLengths.Add(start);
        _blockOffsets.Add(_blockTables.Count);
        _blockTables.AddRange(blocks);
        _position = start;
    }

    /// <summary>Adds the next tokens of the sequence begun last and returns the number of the last one in the batch.</summary>
    public int Add(ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens) Add(token, source: -1);
        return _tokens.Count - 1;
    }

    /// <summary>Adds the next token of the sequence begun last and returns its number in the batch.</summary>
    /// <param name="token">Its id.</param>
    /// <param name="source">Where its id is among the proposals; negative: it is <paramref name="token"/>.</param>
    public int Add(int token, int source)
    {
        ReadOnlySpan<int> table = CollectionsMarshal.AsSpan(_blockTables)[_blockOffsets[^1]..];
        _slots.Add(table[_position / blockSize] * blockSize + _position % blockSize);
        _positions.Add(_position++);
        _tokens.Add(token);
        _sources.Add(source);
        _hasProposals |= source >= 0;
        return _tokens.Count - 1;
    }

    /// <summary>Wants the logits of a token; rows of logits come in the order of these calls.</summary>
    /// <param name="token">Its number in the batch.</param>
    public void WantLogits(int token) => _logitTokens.Add(token);

    /// <summary>The batch in memory of <paramref name="arena"/>, valid until it is reset.</summary>
    /// <param name="arena">Where it is put.</param>
    /// <param name="proposals">Token ids that are known on the device only.</param>
    public StepBatch Build(Arena arena, DeviceSpan<int> proposals = default)
    {
        _queryOffsets.Add(_tokens.Count);
        _blockOffsets.Add(_blockTables.Count);
        groups.Find(Span(_queryOffsets), Span(_contextLengths), Span(_blockOffsets), Span(_blockTables));

        var layout = new Layout(groups.Memory.Length, _tokens.Count, _logitTokens.Count, _hasProposals ? _tokens.Count : 0);
        CollectionsMarshal.SetCount(_host, layout.Length);
        Span<int> host = CollectionsMarshal.AsSpan(_host);
        groups.Memory.CopyTo(host[layout.Attention]);
        Span(_tokens).CopyTo(host[layout.TokenIds]);
        Span(_positions).CopyTo(host[layout.Positions]);
        Span(_slots).CopyTo(host[layout.Slots]);
        Span(_logitTokens).CopyTo(host[layout.LogitTokens]);
        if (_hasProposals) Span(_sources).CopyTo(host[layout.Sources]);

        DeviceSpan<int> device = arena.Span<int>(layout.Length);
        device.CopyFrom(host);
        DeviceSpan<int> Part(Range range) => device.Slice(range.Start.Value, range.End.Value - range.Start.Value);
        AttentionPlan attention = groups.On(Part(layout.Attention), arena);
        if (_hasProposals) device.Device!.Operators.Gather(proposals, Part(layout.Sources), Part(layout.TokenIds));
        return new StepBatch(Part(layout.TokenIds), Part(layout.Positions), Part(layout.Slots), attention, Part(layout.LogitTokens));
    }

    private static Span<int> Span(List<int> list) => CollectionsMarshal.AsSpan(list);

    /// <summary>Where each array lies in the one that is uploaded; the plan first, whose items are aligned.</summary>
    private readonly record struct Layout(int AttentionLength, int Tokens, int LogitRows, int SourcesLength)
    {
        public Range Attention => 0..AttentionLength;
        public Range TokenIds => After(Attention, Tokens);
        public Range Positions => After(TokenIds, Tokens);
        public Range Slots => After(Positions, Tokens);
        public Range LogitTokens => After(Slots, LogitRows);
        public Range Sources => After(LogitTokens, SourcesLength);
        public int Length => Sources.End.Value;

        private static Range After(Range previous, int length) => previous.End.Value..(previous.End.Value + length);
    }
}
