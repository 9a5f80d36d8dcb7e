namespace KernelForge;

/// <summary>
/// The values that the weights of one group can have: scale · (code − zero). Rounding to nearest picks the nearest for each weight; other quantisers start from it.
/// </summary>
/// <param name="Scale">Distance of two neighbours; 0 where all weights are 0.</param>
/// <param name="Zero">The code that means 0.</param>
/// <param name="MaxCode">The largest code.</param>
public readonly record struct WeightGrid(float Scale, int Zero, int MaxCode)
{
    /// <summary>
    /// The grid that spans a group: without zero points scale = max |w| / 7.5 (127.5 with 8 bits) around the middle code, as compressed-tensors has it; with
    /// them scale = (max − min) / 15 (255) and zero = round(−min / scale), 0 being in the range always.
    /// </summary>
    /// <param name="weights">A group of finite weights of one output.</param>
    /// <param name="format">What codes mean; its group size does not matter here.</param>
    /// <param name="scaleType">Type that the scale is rounded to, before any code is chosen; beyond its largest value it is that.</param>
    /// <exception cref="ArgumentException">A weight is not finite, or the type is no float type.</exception>
    public static WeightGrid Of(ReadOnlySpan<float> weights, in WeightFormat format, DType scaleType = DType.F32)
    {
        float min = 0, max = 0, zeroes = 0;
        foreach (float weight in weights)
        {
            min = Math.Min(min, weight);
            max = Math.Max(max, weight);
            zeroes += weight * 0; // NaN as soon as one is not finite
        }
        Check.That(zeroes == 0, $"WeightGrid: a weight of the group is not finite");
        if (!format.HasZeroPoints) return new(Rounded(Math.Max(-min, max) / (format.MaxCode / 2f), scaleType), format.MiddleCode, format.MaxCode);

        float scale = Rounded(max / format.MaxCode - min / format.MaxCode, scaleType);
        int zero = scale == 0 ? 0 : (int)Math.Clamp(MathF.Round(-min / scale), 0, format.MaxCode);
        return new(scale, zero, format.MaxCode);
    }

    /// <summary>The code of the nearest value, ties to even.</summary>
    public int Code(float weight) => Scale == 0 ? Zero : (int)Math.Clamp(MathF.Round(weight / Scale) + Zero, 0, MaxCode);

    /// <summary>What a code stands for.</summary>
    public float Value(int code) => Scale * (code - Zero);

    private static float Rounded(float scale, DType type) => type switch
    {
        DType.F32 => scale,
        DType.F16 => (float)(Half)Math.Min(scale, (float)Half.MaxValue),
        DType.BF16 => (BFloat16)Math.Min(scale, BFloat16.FromBits(0x7f7f)),
        _ => throw new ArgumentException($"WeightGrid: scales of type {type}, expected F32, F16 or BF16"),
    };
}
