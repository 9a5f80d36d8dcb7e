namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Attention of queries over all keys and values of a plain dense prefix, without a mask: the shared part of Hydragen (arXiv:2402.05099). Any number of
    /// sequences' tokens may be given together; they read keys and values once. Query head h reads key/value head h / (query heads / kv heads).
    /// </summary>
    /// <param name="queries">[tokens, query_heads · head_dim].</param>
    /// <param name="keys">[prefix, kv_heads · head_dim]: row j is position j of all key/value heads; rows may be strided. May be empty.</param>
    /// <param name="values">[prefix, kv_heads · head_dim].</param>
    /// <param name="kvHeads">Key/value heads.</param>
    /// <param name="scale">Factor of the scores, as 1 / sqrt(head_dim).</param>
    /// <param name="result">Normalised output of the queries' shape, and lse [tokens, query_heads]; to be merged with that of the sequences' own keys.</param>
    /// <param name="softCap">Bounds scores: they become cap · tanh(score / cap); 0 leaves them.</param>
    public void PrefixAttention(
        in DeviceMatrix queries, in DeviceMatrix keys, in DeviceMatrix values, int kvHeads, float scale, in AttentionState result, float softCap = 0)
    {
        CheckFloat("PrefixAttention", "keys", keys);
        CheckFloat("PrefixAttention", "values", values, keys.Rows, keys.Columns);
        CheckFloat("PrefixAttention", "queries", queries);
        Check.That(kvHeads > 0 && keys.Columns > 0 && keys.Columns % kvHeads == 0 && queries.Columns % keys.Columns == 0,
            $"PrefixAttention: queries are {queries}, keys {keys}; expected [tokens, heads * head_dim] and [prefix, {kvHeads} * head_dim], heads a multiple of {kvHeads}");
        CheckFloat("PrefixAttention", "result.Out", result.Out, queries.Rows, queries.Columns);
        CheckFloat("PrefixAttention", "result.Lse", result.Lse, queries.Rows, queries.Columns / (keys.Columns / kvHeads));
        Check.That(result.Lse.DType == DType.F32, $"PrefixAttention: result.Lse is {result.Lse}, expected F32");
        Check.That(softCap >= 0 && float.IsFinite(softCap), $"PrefixAttention: softCap is {softCap}, expected 0 (none) or a positive number");
        if (!queries.IsEmpty) PrefixAttentionCore(queries, keys, values, kvHeads, scale, softCap, result);
    }

    /// <summary>Computes <see cref="PrefixAttention"/> on checked arguments.</summary>
    protected abstract void PrefixAttentionCore(
        in DeviceMatrix queries, in DeviceMatrix keys, in DeviceMatrix values, int kvHeads, float scale, float softCap, in AttentionState result);
}
