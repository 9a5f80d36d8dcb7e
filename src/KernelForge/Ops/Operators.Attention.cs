namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Causal attention of the step's query tokens over a paged cache that already holds their own keys and values: a token at position p sees the
    /// positions 0 .. p of its sequence. Query head h reads key/value head h / (query heads / kv heads).
    /// </summary>
    /// <param name="queries">[tokens, query_heads · head_dim].</param>
    /// <param name="cache">Keys and values.</param>
    /// <param name="plan">Which tokens belong together, and their blocks.</param>
    /// <param name="scale">Factor of the scores, as 1 / sqrt(head_dim).</param>
    /// <param name="result">[tokens, query_heads · head_dim].</param>
    public void Attention(in DeviceMatrix queries, in KvLayer cache, in AttentionPlan plan, float scale, in DeviceMatrix result)
    {
        CheckFloat("Attention", "cache", cache.Data);
        CheckFloat("Attention", "queries", queries);
        CheckFloat("Attention", "result", result, queries.Rows, queries.Columns);
        CheckLength("Attention", "plan.QueryOffsets", plan.QueryOffsets, plan.Sequences + 1);
        CheckLength("Attention", "plan.BlockOffsets", plan.BlockOffsets, plan.Sequences + 1);
        CheckHere("Attention", plan.BlockTables.Device, plan.BlockTables.IsEmpty);
        CheckHere("Attention", plan.ContextLengths.Device, plan.ContextLengths.IsEmpty);
        int kvColumns = cache.Format.KvHeads * cache.Format.HeadDim;
        Check.That(queries.Columns % kvColumns == 0,
            $"Attention: queries are {queries}, whose columns are no multiple of kv_heads * head_dim = {cache.Format.KvHeads} * {cache.Format.HeadDim}");
        if (!queries.IsEmpty) AttentionCore(queries, cache, plan, scale, result);
    }

    /// <summary>Computes <see cref="Attention"/> on checked arguments.</summary>
    protected abstract void AttentionCore(in DeviceMatrix queries, in KvLayer cache, in AttentionPlan plan, float scale, in DeviceMatrix result);
}
