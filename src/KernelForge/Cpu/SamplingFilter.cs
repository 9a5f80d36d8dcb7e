namespace KernelForge.Cpu;

/// <summary>
/// Top-k and then top-p leave the first tokens in the order of <see cref="TopTokens"/>; the last of them says it all. Only as much of the vocabulary is
/// sorted as top-p needs.
/// </summary>
internal static class SamplingFilter
{
    /// <summary>Top-k, top-p and min-p of a row. <paramref name="room"/> holds a key for every token.</summary>
    public static TokenFilter<TLanes> Of<TLanes>(in ScaledLogits<TLanes> logits, in SamplingRow row, Span<ulong> room) where TLanes : struct, ILanes<TLanes> =>
        new(logits, Last(logits, row.TopK, row.TopP, room), row.MinP == 0 ? float.MinValue : (float)Math.Log(row.MinP));

    /// <summary>The key of the last token that the filters leave. <paramref name="room"/> holds a key for every token.</summary>
    private static ulong Last<TLanes>(in ScaledLogits<TLanes> logits, int topK, float topP, Span<ulong> room) where TLanes : struct, ILanes<TLanes>
    {
        bool limitsCount = topK > 0 && topK < logits.Length, limitsMass = topP < 1;
        if (!limitsCount && !limitsMass) return TopTokens.AfterAll;

        return limitsCount ? LastOfTop(logits, room[..topK], topP) : LastOfMass(logits, room, topP);
    }

    /// <summary>Top-k, then the share p of what it leaves.</summary>
    private static ulong LastOfTop<TLanes>(in ScaledLogits<TLanes> logits, Span<ulong> keys, float topP) where TLanes : struct, ILanes<TLanes>
    {
        logits.SelectTop(keys);
        if (topP == 1) return keys[0];
        keys.Sort();
        logits.Reach(keys, double.PositiveInfinity, out double total);
        return keys[Math.Min(logits.Reach(keys, topP * total, out _), keys.Length - 1)];
    }

    /// <summary>The share p of all tokens: collects the likeliest down to a score that has enough mass, and sorts those only.</summary>
    private static ulong LastOfMass<TLanes>(in ScaledLogits<TLanes> logits, Span<ulong> keys, float topP) where TLanes : struct, ILanes<TLanes>
    {
        double target = topP * logits.SumOfExp();
        float lowest = LowestScore(logits, target);
        while (true)
        {
            Span<ulong> collected = keys[..logits.Collect(lowest, keys)];
            collected.Sort();
            int reached = logits.Reach(collected, target, out _);
            if (reached < collected.Length) return collected[reached];
            if (float.IsNegativeInfinity(lowest)) return collected[^1]; // the sums differ in the order of their terms: all it is
            lowest = float.NegativeInfinity;
        }
    }

    /// <summary>A score, not far below the highest possible one, that tokens with at least the target's mass are not below.</summary>
    private static float LowestScore<TLanes>(in ScaledLogits<TLanes> logits, double target) where TLanes : struct, ILanes<TLanes>
    {
        float enough = -2, tooHigh = 0;
        while (enough > -128 && logits.SumOfExp(enough) < target) (enough, tooHigh) = (2 * enough, enough);
        for (int i = 0; i < 3; i++)
        {
            float middle = (enough + tooHigh) / 2;
            if (logits.SumOfExp(middle) < target) tooHigh = middle;
            else enough = middle;
        }

        return enough;
    }
}
