namespace KernelForge.Tests;

/// <summary>Causal attention of one head in double precision, from the definition.</summary>
public static class ReferenceAttention
{
    /// <summary>
    /// softmax(scale · q K) V over the rows <paramref name="first"/> .. <paramref name="visible"/> - 1 of K and V; also Σ weight · |value|, for tolerances.
    /// With <paramref name="softCap"/> scores are softCap · tanh(score / softCap).
    /// </summary>
    public static (double[] Output, double[] Magnitude) Compute(
        ReadOnlySpan<float> query, Func<int, float[]> key, Func<int, float[]> value, int visible, double scale, int first = 0, double softCap = 0)
    {
        (double[] output, double[] magnitude, _) = ComputeWithSum(query, key, value, visible, scale, first, softCap);
        return (output, magnitude);
    }

    /// <summary>The same, and the logarithm of the sum of the exponentials of the scores.</summary>
    public static (double[] Output, double[] Magnitude, double LogSum) ComputeWithSum(
        ReadOnlySpan<float> query, Func<int, float[]> key, Func<int, float[]> value, int visible, double scale, int first = 0, double softCap = 0)
    {
        var scores = new double[visible - first];
        for (int j = first; j < visible; j++)
        {
            float[] k = key(j);
            double score = 0;
            for (int d = 0; d < query.Length; d++) score += (double)query[d] * k[d];
            scores[j - first] = softCap == 0 ? score * scale : softCap * Math.Tanh(score * scale / softCap);
        }

        double max = scores.Max(), sum = 0;
        double[] output = new double[query.Length], magnitude = new double[query.Length];
        for (int j = first; j < visible; j++)
        {
            double weight = Math.Exp(scores[j - first] - max);
            sum += weight;
            float[] v = value(j);
            for (int d = 0; d < query.Length; d++)
            {
                output[d] += weight * v[d];
                magnitude[d] += weight * Math.Abs(v[d]);
            }
        }

        return ([.. output.Select(o => o / sum)], [.. magnitude.Select(m => m / sum)], max + Math.Log(sum));
    }

    /// <summary>What soft-capped scores may be off, relative to the result's magnitude: a tanh has an absolute error.</summary>
    public static double SoftCapError(double softCap) => softCap * Math.Pow(2, -20);
}
