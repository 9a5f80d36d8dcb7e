namespace KernelForge.Tests;

/// <summary>Pearson's test of counts against probabilities.</summary>
internal static class ChiSquare
{
    /// <summary>Exceeded once in about 3 · 10⁵ cases of a right distribution.</summary>
    private const double MostDeviation = 4.5;

    public static void AssertFollows(double[] probabilities, int[] drawn)
    {
        double deviation = Deviation(probabilities, drawn);
        Assert.True(deviation < MostDeviation, $"the draws are {deviation:0.0} standard deviations from the distribution");
    }

    public static void AssertDoesNotFollow(double[] probabilities, int[] drawn)
    {
        double deviation = Deviation(probabilities, drawn);
        Assert.True(deviation > MostDeviation, $"the draws are {deviation:0.0} standard deviations from the distribution, which is not theirs");
    }

    /// <summary>
    /// χ² in standard deviations of a normal distribution (Wilson and Hilferty's cube root). Cells with fewer than five expected draws are one cell; infinite where a draw
    /// has no probability.
    /// </summary>
    private static double Deviation(double[] probabilities, int[] drawn)
    {
        var counts = new int[probabilities.Length];
        foreach (int token in drawn) counts[token]++;
        double chiSquare = 0, rareExpected = 0;
        int cells = 0, rare = 0;
        for (int i = 0; i < counts.Length; i++)
        {
            double expected = probabilities[i] * drawn.Length;
            if (expected == 0 && counts[i] > 0) return double.PositiveInfinity;
            if (expected >= 5) AddCell(counts[i], expected);
            else (rare, rareExpected) = (rare + counts[i], rareExpected + expected);
        }

        if (rareExpected >= 5) AddCell(rare, rareExpected);
        else if (rare > 30) return double.PositiveInfinity;
        if (cells < 2) return 0;
        double freedom = cells - 1, variance = 2 / (9 * freedom);
        return (Math.Cbrt(chiSquare / freedom) - (1 - variance)) / Math.Sqrt(variance);

        void AddCell(int count, double expected)
        {
            chiSquare += (count - expected) * (count - expected) / expected;
            cells++;
        }
    }
}
