namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Joins attention over disjoint keys into that of one softmax over all of them (Hydragen, arXiv:2402.05099): lse = log(e^lse_a + e^lse_b),
    /// out = e^(lse_a - lse) · out_a + e^(lse_b - lse) · out_b. Outputs were rounded before, so bits differ from attention in one go; a plan has not this loss.
    /// </summary>
    /// <param name="a">A part; its heads are the columns of Lse.</param>
    /// <param name="b">Another part, of the same shape and types.</param>
    /// <param name="result">The whole. May be <paramref name="a"/> or <paramref name="b"/>.</param>
    public void MergeAttention(in AttentionState a, in AttentionState b, in AttentionState result)
    {
        int heads = a.Lse.Columns;
        Check.That(heads > 0 && a.Out.Columns % heads == 0, $"MergeAttention: out is {a.Out}, lse {a.Lse}; expected [tokens, heads * head_dim] and [tokens, heads]");
        foreach (ref readonly AttentionState state in (ReadOnlySpan<AttentionState>)[a, b, result])
        {
            CheckFloat("MergeAttention", "out", state.Out, a.Out.Rows, a.Out.Columns);
            CheckFloat("MergeAttention", "lse", state.Lse, a.Out.Rows, heads);
            Check.That(state.Lse.DType == DType.F32 && state.Out.DType == a.Out.DType,
                $"MergeAttention: out is {state.Out}, lse {state.Lse}; expected {a.Out.DType} in all parts, and F32");
        }
        if (!a.Out.IsEmpty) MergeAttentionCore(a, b, result);
    }

    /// <summary>Computes <see cref="MergeAttention"/> on checked arguments.</summary>
    protected abstract void MergeAttentionCore(in AttentionState a, in AttentionState b, in AttentionState result);
}
