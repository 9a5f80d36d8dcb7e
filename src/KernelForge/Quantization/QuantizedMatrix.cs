using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>
/// Quantised weights on the host, one byte for a code: what importers, quantisers and packers hand to each other. Weight (n, order[j]) is
/// scale[n, j / group] · (code[n, j] − zero[n, j / group]).
/// </summary>
public sealed class QuantizedMatrix
{
    /// <param name="format">What codes mean.</param>
    /// <param name="n">Outputs.</param>
    /// <param name="k">Inputs; a multiple of the group size.</param>
    /// <param name="codes">[n, k], from 0 to <see cref="WeightFormat.MaxCode"/>.</param>
    /// <param name="scales">[n, groups].</param>
    /// <param name="zeros">[n, groups], codes that mean 0; null without zero points.</param>
    /// <param name="order">[k], a permutation: weight j of every output belongs to input order[j]; null for the order of the inputs.</param>
    /// <exception cref="ArgumentException">A length does not fit, a code or zero is too large, or the order is no permutation.</exception>
    public QuantizedMatrix(WeightFormat format, int n, int k, byte[] codes, float[] scales, byte[]? zeros = null, int[]? order = null)
    {
        ArgumentNullException.ThrowIfNull(codes);
        CheckParts("QuantizedMatrix", format, n, k, scales, zeros, order);
        Check.That(codes.LongLength == (long)n * k, $"QuantizedMatrix: {codes.LongLength} codes, expected {n} x {k}");
        Check.That(codes.AsSpan().IndexOfAnyExceptInRange((byte)0, (byte)format.MaxCode) < 0, $"QuantizedMatrix: a code is above {format.MaxCode}");
        (Format, N, K, Codes, Scales, Zeros, Order) = (format, n, k, codes, scales, zeros, order);
    }

    /// <summary>What codes mean.</summary>
    public WeightFormat Format { get; }

    /// <summary>Outputs.</summary>
    public int N { get; }

    /// <summary>Inputs.</summary>
    public int K { get; }

    /// <summary>[n, k].</summary>
    public byte[] Codes { get; }

    /// <summary>[n, groups].</summary>
    public float[] Scales { get; }

    /// <summary>[n, groups], or null.</summary>
    public byte[]? Zeros { get; }

    /// <summary>[k], or null.</summary>
    public int[]? Order { get; }

    /// <summary>Quantises dense weights by rounding to nearest, each group on the grid that spans it: <see cref="WeightGrid"/>.</summary>
    /// <param name="weights">[n, k], finite.</param>
    /// <param name="format">What codes shall mean; k is a multiple of its group size.</param>
    /// <param name="scaleType">Type that scales are rounded to before codes are chosen, for files that store them so.</param>
    /// <exception cref="ArgumentException">The format does not fit, or a weight is not finite.</exception>
    public static QuantizedMatrix Round(ReadOnlySpan2D<float> weights, WeightFormat format, DType scaleType = DType.F32) =>
        Rounding.Round(weights, format, scaleType);

    /// <summary>The same of Half or BFloat16.</summary>
    public static QuantizedMatrix Round<T>(ReadOnlySpan2D<T> weights, WeightFormat format, DType scaleType = DType.F32) where T : unmanaged =>
        Rounding.Round(weights, format, scaleType);

    /// <summary>The code that means 0 in a group of an output.</summary>
    public int Zero(int n, int group) => Zeros is null ? Format.MiddleCode : Zeros[n * (long)Format.Groups(K) + group];

    /// <summary>The weights that the codes stand for, [n, k] in the order of the inputs, each product rounded once to F32.</summary>
    public float[,] Dequantize()
    {
        var weights = new float[N, K];
        int groups = Format.Groups(K), groupSize = Format.GroupSize == 0 ? K : Format.GroupSize;
        for (int n = 0; n < N; n++)
            for (int j = 0; j < K; j++)
                weights[n, Order is null ? j : Order[j]] = Scales[n * (long)groups + j / groupSize] * (Codes[n * (long)K + j] - Zero(n, j / groupSize));
        return weights;
    }

    /// <summary>Refuses what does not fit a format and shape, codes left aside.</summary>
    internal static void CheckParts(string operation, in WeightFormat format, int n, int k, float[] scales, byte[]? zeros, int[]? order)
    {
        ArgumentNullException.ThrowIfNull(scales);
        format.Check(operation, n, k);
        long groups = (long)n * format.Groups(k);
        Check.That(scales.LongLength == groups, $"{operation}: {scales.LongLength} scales, expected {n} x {format.Groups(k)}");
        Check.That((zeros is not null) == format.HasZeroPoints, $"{operation}: zero points {(zeros is null ? "missing" : "given")}, format {format}");
        Check.That(zeros is null || zeros.LongLength == groups, $"{operation}: {zeros?.LongLength} zero points, expected {n} x {format.Groups(k)}");
        Check.That(zeros is null || zeros.AsSpan().IndexOfAnyExceptInRange((byte)0, (byte)format.MaxCode) < 0, $"{operation}: a zero point is above {format.MaxCode}");
        Check.That(order is null || IsPermutation(order, k), $"{operation}: the order of {order?.Length} inputs is no permutation of 0..{k - 1}");
    }

    internal static bool IsPermutation(int[] order, int k)
    {
        if (order.Length != k) return false;
        var seen = new bool[k];
        foreach (int input in order)
        {
            if ((uint)input >= (uint)k || seen[input]) return false;
            seen[input] = true;
        }
        return true;
    }
}
