using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>Exponential, hyperbolic tangent and logarithm as fixed sequences of lane operations, so that every instruction set gives the same bits.</summary>
internal static class LaneMath
{
    /// <summary>
    /// e^x: 2^n times a polynomial in x - n · ln 2, at most 1.01 units of the last place from the exact value (measured over the whole range). Exactly 1 at 0,
    /// 0 below -103.98 and at negative infinity, infinity above 88.73; NaN stays NaN.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Exp<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes>
    {
        x = TLanes.Min(TLanes.Fill(89f), TLanes.Max(TLanes.Fill(-104f), x));
        TLanes magic = TLanes.Fill(12582912f); // 1.5 · 2^23: adding it rounds to a whole number
        TLanes n = TLanes.FusedMultiplyAdd(x, TLanes.Fill(1.44269504f), magic) - magic;
        TLanes r = TLanes.FusedMultiplyAdd(n, TLanes.Fill(-0.693359375f), x);
        r = TLanes.FusedMultiplyAdd(n, TLanes.Fill(2.12194440e-4f), r);

        TLanes p = TLanes.FusedMultiplyAdd(TLanes.Fill(1.9875691500e-4f), r, TLanes.Fill(1.3981999507e-3f));
        p = TLanes.FusedMultiplyAdd(p, r, TLanes.Fill(8.3334519073e-3f));
        p = TLanes.FusedMultiplyAdd(p, r, TLanes.Fill(4.1665795894e-2f));
        p = TLanes.FusedMultiplyAdd(p, r, TLanes.Fill(1.6666665459e-1f));
        p = TLanes.FusedMultiplyAdd(p, r, TLanes.Fill(5.0000001201e-1f));
        p = TLanes.FusedMultiplyAdd(p, r * r, r) + TLanes.Fill(1f);
        return TLanes.Scale(p, n);
    }

    /// <summary>
    /// 2^x for x below 129: 2^n times a polynomial in x - n, at most 1.01 units of the last place from the exact value (measured). Exactly 1 at 0, 0 from -150 down;
    /// NaN stays NaN. The polynomial has the smallest largest relative error of its degree, 2.6e-9.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Exp2<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes>
    {
        x = TLanes.Max(TLanes.Fill(-151f), x);
        TLanes magic = TLanes.Fill(12582912f); // 1.5 · 2^23: adding it rounds to a whole number
        TLanes n = (x + magic) - magic, f = x - n;
        TLanes p = TLanes.FusedMultiplyAdd(TLanes.Fill(1.55946778e-4f), f, TLanes.Fill(1.34066434e-3f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(9.61769279e-3f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(5.55031039e-2f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(2.40226522e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(6.93147242e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(1f));
        return TLanes.Scale(p, n);
    }

    /// <summary>x / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Silu<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes> => x / (TLanes.Fill(1) + Exp(TLanes.Fill(0) - x));

    /// <summary>The hyperbolic tangent, 1 - 2 / (1 + e^2x); its error is absolute, at most 2^-22. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Tanh<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes>
    {
        TLanes one = TLanes.Fill(1);
        return one - TLanes.Fill(2) / (one + Exp(x + x));
    }

    /// <summary>Natural logarithm of positive normal numbers, at most 0.83 units of the last place from the exact value (measured).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Log<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes>
    {
        TLanes fraction = Reduce(x, out TLanes exponent);
        return LogOfSum(fraction, exponent);
    }

    /// <summary>
    /// -log(1 - v) for v in (0, 1), given v and 1 - v, each with its own full precision: small v would be lost in 1 - v.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes NegativeLogOfRest<TLanes>(TLanes v, TLanes rest) where TLanes : struct, ILanes<TLanes>
    {
        TLanes fraction = Reduce(rest, out TLanes exponent), quarter = TLanes.Fill(0.25f), zero = TLanes.Fill(0);
        fraction = TLanes.SelectLess(v, quarter, zero - v, fraction);
        exponent = TLanes.SelectLess(v, quarter, zero, exponent);
        return zero - LogOfSum(fraction, exponent);
    }

    /// <summary>x = (1 + f) · 2^exponent with 1 + f between sqrt(1/2) and sqrt(2); returns f.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Reduce<TLanes>(TLanes x, out TLanes exponent) where TLanes : struct, ILanes<TLanes>
    {
        TLanes one = TLanes.Fill(1), root = TLanes.Fill(1.41421356f);
        TLanes fraction = TLanes.Split(x, out exponent);
        exponent = TLanes.SelectLess(root, fraction, exponent + one, exponent);
        return TLanes.SelectLess(root, fraction, fraction * TLanes.Fill(0.5f), fraction) - one;
    }

    /// <summary>log((1 + f) · 2^exponent).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes LogOfSum<TLanes>(TLanes f, TLanes exponent) where TLanes : struct, ILanes<TLanes>
    {
        TLanes p = TLanes.FusedMultiplyAdd(TLanes.Fill(7.0376836292e-2f), f, TLanes.Fill(-1.1514610310e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(1.1676998740e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(-1.2420140846e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(1.4249322787e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(-1.6668057665e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(2.0000714765e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(-2.4999993993e-1f));
        p = TLanes.FusedMultiplyAdd(p, f, TLanes.Fill(3.3333331174e-1f));
        TLanes square = f * f;
        TLanes rest = TLanes.FusedMultiplyAdd(exponent, TLanes.Fill(-2.12194440e-4f), p * f * square);
        rest = TLanes.FusedMultiplyAdd(square, TLanes.Fill(-0.5f), rest);
        return TLanes.FusedMultiplyAdd(exponent, TLanes.Fill(0.693359375f), f + rest);
    }
}
