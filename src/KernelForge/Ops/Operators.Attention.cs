namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Causal attention of the step's query tokens over a paged cache that already holds their own keys and values: a token at position p sees the
    /// positions 0 .. p of its sequence, or the last of them if the batch has a window. Query head h reads key/value head h / (query heads / kv heads).
    /// Every sequence reads all its keys and values; with an <see cref="AttentionPlan"/> those that share a prefix read it together, with the same bits.
    /// </summary>
    /// <param name="queries">[tokens, query_heads · head_dim].</param>
    /// <param name="cache">Keys and values.</param>
    /// <param name="batch">Which tokens belong together, and their blocks.</param>
    /// <param name="scale">Factor of the scores, as 1 / sqrt(head_dim).</param>
    /// <param name="result">[tokens, query_heads · head_dim].</param>
    /// <param name="softCap">Bounds scores: they become cap · tanh(score / cap); 0 leaves them.</param>
    public void Attention(in DeviceMatrix queries, in KvLayer cache, in AttentionBatch batch, float scale, in DeviceMatrix result, float softCap = 0)
    {
        CheckAttention(queries, cache, result, softCap);
        CheckLength("Attention", "batch.QueryOffsets", batch.QueryOffsets, batch.Sequences + 1);
        CheckLength("Attention", "batch.BlockOffsets", batch.BlockOffsets, batch.Sequences + 1);
        CheckHere("Attention", batch.BlockTables.Device, batch.BlockTables.IsEmpty);
        CheckHere("Attention", batch.ContextLengths.Device, batch.ContextLengths.IsEmpty);
        Check.That(batch.Window >= 0, $"Attention: the window is {batch.Window}, expected 0 (none) or more");
        if (!queries.IsEmpty) AttentionCore(queries, cache, batch, scale, softCap, result);
    }

    /// <summary>
    /// The same with a plan: sequences that share a prefix read its keys and values together (Hydragen, arXiv:2402.05099), with the bits of attention
    /// without a plan.
    /// </summary>
    /// <param name="queries">[tokens, query_heads · head_dim].</param>
    /// <param name="cache">Keys and values, of the shape that was planned for.</param>
    /// <param name="plan">Of this step.</param>
    /// <param name="scale">Factor of the scores, as 1 / sqrt(head_dim).</param>
    /// <param name="result">[tokens, query_heads · head_dim].</param>
    /// <param name="softCap">Bounds scores: they become cap · tanh(score / cap); 0 leaves them.</param>
    /// <exception cref="ArgumentException">The plan is that of another batch, cache or device.</exception>
    public void Attention(in DeviceMatrix queries, in KvLayer cache, AttentionPlan plan, float scale, in DeviceMatrix result, float softCap = 0)
    {
        ArgumentNullException.ThrowIfNull(plan);
        CheckAttention(queries, cache, result, softCap);
        Check.That(plan.Tokens == queries.Rows && plan.Group * plan.KvHeads * plan.HeadDim == queries.Columns,
            $"Attention: the plan is for [{plan.Tokens}, {plan.Group * plan.KvHeads} * {plan.HeadDim}], queries are {queries}");
        Check.That(plan.KvHeads == cache.Format.KvHeads && plan.BlockSize == cache.Format.BlockSize && plan.Blocks <= cache.Blocks,
            $"Attention: the plan is for {plan.Blocks} blocks of {plan.KvHeads} heads x {plan.BlockSize} positions, the cache has {cache.Blocks} of {cache.Format}");
        AttentionTiling tiling = AttentionTiling(cache.Format);
        Check.That(plan.Tiling.Suits(tiling), $"Attention: the plan is for {plan.Tiling}, {Device.Name} has {tiling}");
        CheckHere("Attention", plan.Ranges.Device, plan.Ranges.IsEmpty);
        CheckHere("Attention", plan.Workspace.Device, plan.Workspace.IsEmpty);
        if (!queries.IsEmpty) AttentionCore(queries, cache, plan, scale, softCap, result);
    }

    /// <summary>How this device computes attention over a cache of this shape, for an <see cref="AttentionPlanner"/>.</summary>
    public abstract AttentionTiling AttentionTiling(in KvFormat format);

    /// <summary>Computes Attention without a plan, on checked arguments.</summary>
    protected abstract void AttentionCore(
        in DeviceMatrix queries, in KvLayer cache, in AttentionBatch batch, float scale, float softCap, in DeviceMatrix result);

    /// <summary>Computes Attention with a plan, on checked arguments.</summary>
    protected abstract void AttentionCore(
        in DeviceMatrix queries, in KvLayer cache, AttentionPlan plan, float scale, float softCap, in DeviceMatrix result);

    private void CheckAttention(in DeviceMatrix queries, in KvLayer cache, in DeviceMatrix result, float softCap)
    {
        CheckFloat("Attention", "cache", cache.Data);
        CheckFloat("Attention", "queries", queries);
        CheckFloat("Attention", "result", result, queries.Rows, queries.Columns);
        Check.That(softCap >= 0 && float.IsFinite(softCap), $"Attention: softCap is {softCap}, expected 0 (none) or a positive number");
        int kvColumns = cache.Format.KvHeads * cache.Format.HeadDim;
        Check.That(queries.Columns % kvColumns == 0,
            $"Attention: queries are {queries}, whose columns are no multiple of kv_heads * head_dim = {cache.Format.KvHeads} * {cache.Format.HeadDim}");
    }
}
