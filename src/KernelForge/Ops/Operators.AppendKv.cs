namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>Stores the keys and values of new tokens in their slots of a paged cache.</summary>
    /// <param name="keys">[tokens, kv_heads · head_dim].</param>
    /// <param name="values">[tokens, kv_heads · head_dim].</param>
    /// <param name="slots">[tokens], each block id · block size + offset; no slot twice.</param>
    /// <param name="cache">Where to.</param>
    public void AppendKv(in DeviceMatrix keys, in DeviceMatrix values, DeviceSpan<int> slots, in KvLayer cache)
    {
        int columns = cache.Format.KvHeads * cache.Format.HeadDim;
        CheckFloat("AppendKv", "cache", cache.Data);
        CheckFloat("AppendKv", "keys", keys, slots.Length, columns);
        CheckFloat("AppendKv", "values", values, slots.Length, columns);
        CheckLength("AppendKv", "slots", slots, keys.Rows);
        if (!keys.IsEmpty) AppendKvCore(keys, values, slots, cache);
    }

    /// <summary>Computes <see cref="AppendKv"/> on checked arguments.</summary>
    protected abstract void AppendKvCore(in DeviceMatrix keys, in DeviceMatrix values, DeviceSpan<int> slots, in KvLayer cache);
}
