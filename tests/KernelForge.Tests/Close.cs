using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// Compares a device's result with a double-precision reference. The tolerance is computed: one rounding of the output and the growth of F32 rounding errors
/// in a sum, |error| ≤ u_out · |expected| + 4 · √K · 2⁻²⁴ · Σ|aᵢ bᵢ|. Inputs are rounded to their storage type before the reference sees them.
/// </summary>
public static class Close
{
    /// <summary>Half a unit in the last place of the type, relative.</summary>
    public static double UnitRoundoff(DType type) => type switch
    {
        DType.F32 => Math.Pow(2, -24),
        DType.F16 => Math.Pow(2, -11),
        DType.BF16 => Math.Pow(2, -8),
        _ => 0,
    };

    /// <summary>The nearest value of the type.</summary>
    public static float Round(float value, DType type) => type switch
    {
        DType.F16 => (float)(Half)value,
        DType.BF16 => (BFloat16)value,
        _ => value,
    };

    /// <summary>Bound for a value that is the sum of <paramref name="terms"/> products whose absolute values add up to <paramref name="magnitude"/>.</summary>
    public static double Bound(DType output, double expected, int terms, double magnitude) =>
        UnitRoundoff(output) * Math.Abs(expected) + 4 * Math.Sqrt(Math.Max(terms, 1)) * Math.Pow(2, -24) * magnitude
        + (output == DType.F16 ? Math.Pow(2, -25) : 0); // below the smallest normal F16 the error is absolute

    /// <summary>Fails with the worst element: index, both values, bound.</summary>
    public static void AssertEqual(ReadOnlySpan<double> expected, ReadOnlySpan<float> actual, Func<int, double> bound)
    {
        Assert.Equal(expected.Length, actual.Length);
        int worst = -1;
        double worstRatio = 1, squaredError = 0, squaredExpected = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            if (!double.IsFinite(expected[i]) || !float.IsFinite(actual[i]))
            {
                Assert.True(expected[i].Equals((double)actual[i]), $"element {i}: expected {expected[i]}, got {actual[i]}");
                continue;
            }

            double error = Math.Abs(expected[i] - actual[i]);
            squaredError += error * error;
            squaredExpected += expected[i] * expected[i];
            double ratio = error == 0 ? 0 : error / bound(i);
            if (ratio > worstRatio) (worst, worstRatio) = (i, ratio);
        }

        if (worst < 0) return;
        Assert.Fail($"element {worst}: expected {expected[worst]:G9}, got {actual[worst]:G9}, {worstRatio:F2} times the bound {bound(worst):G3}; " +
            $"normalised mean-square error {squaredError / squaredExpected:G3}");
    }

    /// <summary>Fails unless every bit is the same.</summary>
    public static void AssertSameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        ReadOnlySpan<int> a = MemoryMarshal.Cast<float, int>(expected), b = MemoryMarshal.Cast<float, int>(actual);
        Assert.Equal(a.Length, b.Length);
        int common = a.CommonPrefixLength(b);
        Assert.True(common == a.Length, common == a.Length ? "" : $"element {common}: {expected[common]:G9} and {actual[common]:G9} differ");
    }
}
