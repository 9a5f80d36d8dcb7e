namespace KernelForge.Cpu;

/// <summary>
/// Queries, keys, values and results of attention, seen by key/value head: row r of a head is token r / group, query head r % group of those that read it.
/// </summary>
/// <param name="queries">[tokens, kv_heads · group · head_dim].</param>
/// <param name="source">Keys and values.</param>
/// <param name="kvHeads">Key/value heads.</param>
/// <param name="scoring">From products to scores.</param>
/// <param name="result">[tokens, kv_heads · group · head_dim].</param>
/// <param name="lse">F32 [tokens, kv_heads · group], or empty where nobody wants it.</param>
internal readonly unsafe struct AttentionHeads(
    DeviceMatrix queries, KvSource source, int kvHeads, AttentionScoring scoring, DeviceMatrix result, DeviceMatrix lse)
{
    private readonly int _paddedDim = Lanes.Padded(source.HeadDim);

    public int KvHeads => kvHeads;

    public int Group { get; } = queries.Columns / (kvHeads * source.HeadDim);

    public AttentionScoring Scoring => scoring;

    /// <summary>A thread's memory for items of so many rows.</summary>
    public float* Scratch<TLanes>(CpuThreads threads, int part, int rows) where TLanes : struct, ILanes<TLanes> => (float*)threads.Scratch(
        part, (AttentionRowMemory.Length(rows, _paddedDim) + AttentionTile<TLanes>.Length(_paddedDim)) * sizeof(float));

    /// <summary>The first <paramref name="count"/> rows of that memory.</summary>
    public AttentionItemRows<TLanes> Rows<TLanes>(float* memory, int count) where TLanes : struct, ILanes<TLanes> => new(new AttentionRowMemory(memory, count, _paddedDim));

    /// <summary>The tile behind them.</summary>
    public AttentionTile<TLanes> Tile<TLanes>(float* memory, int count, int kvHead) where TLanes : struct, ILanes<TLanes> =>
        new(source, kvHead, count, memory + AttentionRowMemory.Length(count, _paddedDim));

    /// <summary>Starts a row with its query.</summary>
    public void Start<TLanes>(AttentionRow<TLanes> row, int r, int kvHead, (int First, int Last) visible) where TLanes : struct, ILanes<TLanes>
    {
        row.Start(visible.First, visible.Last);
        row.SetQuery(Address(queries, r, kvHead), queries.DType, source.HeadDim);
    }

    /// <summary>Writes a row's result.</summary>
    public void Finish<TLanes>(AttentionRow<TLanes> row, int r, int kvHead) where TLanes : struct, ILanes<TLanes>
    {
        row.Finish(Address(result, r, kvHead), result.DType, source.HeadDim);
        if (!lse.IsEmpty) ((float*)lse.RowAddress(r / Group))[kvHead * Group + r % Group] = row.LogSum();
    }

    private nint Address(in DeviceMatrix matrix, int r, int kvHead)
    {
        int head = kvHead * Group + r % Group;
        return matrix.RowAddress(r / Group) + (nint)head * source.HeadDim * matrix.DType.Size();
    }
}
