namespace KernelForge.Tests;

/// <summary>Which tokens the filters of sampling leave, and their probabilities, by sorting everything in double precision.</summary>
public static class ReferenceSampling
{
    /// <summary>Probability of every token; 0 for those that top-k, then top-p, then min-p take away.</summary>
    public static double[] Probabilities(ReadOnlySpan<float> logits, float temperature, int topK, float topP, float minP)
    {
        double[] scaled = new double[logits.Length];
        for (int i = 0; i < scaled.Length; i++) scaled[i] = (double)logits[i] / temperature;
        double max = scaled.Max();
        int[] order = [.. Enumerable.Range(0, scaled.Length).OrderByDescending(i => scaled[i]).ThenBy(i => i)];
        if (topK > 0) order = order[..Math.Min(topK, order.Length)];

        double total = order.Sum(i => Math.Exp(scaled[i] - max)), sum = 0;
        int kept = 0;
        while (kept < order.Length && sum < topP * total) sum += Math.Exp(scaled[order[kept++]] - max);
        int[] left = [.. order[..Math.Max(kept, 1)].Where(i => Math.Exp(scaled[i] - max) >= minP)];

        var result = new double[scaled.Length];
        double mass = left.Sum(i => Math.Exp(scaled[i] - max));
        foreach (int i in left) result[i] = Math.Exp(scaled[i] - max) / mass;
        return result;
    }

    /// <summary>Natural log of the softmax.</summary>
    public static double[] LogSoftmax(ReadOnlySpan<float> logits)
    {
        double max = double.NegativeInfinity, sum = 0;
        foreach (float l in logits) max = Math.Max(max, l);
        foreach (float l in logits) sum += Math.Exp(l - max);
        var result = new double[logits.Length];
        for (int i = 0; i < result.Length; i++) result[i] = logits[i] - max - Math.Log(sum);
        return result;
    }
}
