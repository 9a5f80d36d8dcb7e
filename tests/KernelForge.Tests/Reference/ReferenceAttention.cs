namespace KernelForge.Tests;

/// <summary>Causal attention of one head in double precision, from the definition.</summary>
public static class ReferenceAttention
{
    /// <summary>softmax(scale · q K) V over the first <paramref name="visible"/> rows of K and V; also Σ weight · |value|, for tolerances.</summary>
    public static (double[] Output, double[] Magnitude) Compute(
        ReadOnlySpan<float> query, Func<int, float[]> key, Func<int, float[]> value, int visible, double scale)
    {
        var scores = new double[visible];
        for (int j = 0; j < visible; j++)
        {
            float[] k = key(j);
            for (int d = 0; d < query.Length; d++) scores[j] += (double)query[d] * k[d];
            scores[j] *= scale;
        }

        double max = scores.Max(), sum = 0;
        double[] output = new double[query.Length], magnitude = new double[query.Length];
        for (int j = 0; j < visible; j++)
        {
            double weight = Math.Exp(scores[j] - max);
            sum += weight;
            float[] v = value(j);
            for (int d = 0; d < query.Length; d++)
            {
                output[d] += weight * v[d];
                magnitude[d] += weight * Math.Abs(v[d]);
            }
        }

        return ([.. output.Select(o => o / sum)], [.. magnitude.Select(m => m / sum)]);
    }
}
