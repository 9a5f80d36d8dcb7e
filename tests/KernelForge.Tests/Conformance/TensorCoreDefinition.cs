using System.Numerics;

namespace KernelForge.Tests;

/// <summary>
/// What one element of a tensor-core product is, in whole numbers: the exact products and the addend are aligned to the largest exponent among them, each is cut to
/// F fraction bits, the sum is exact and is cut to F32. A GPU of compute capability 8.x takes two steps of 8 products with F = 24, one of 9.0 a single step of 16 with F = 25.
/// </summary>
/// <remarks>
/// Written from the published model (microsoft/MMA-Sim, arXiv:2511.10909), apart from the emulator's own. The exponent of a product is the sum of its factors' exponents, not
/// normalised; zero products do not count; the addend counts with at least -126.
/// </remarks>
internal static class TensorCoreDefinition
{
    private const uint Nan = 0x7FFFFFFF, Infinity = 0x7F800000;

    /// <summary>sum + a · b over 16 products.</summary>
    public static uint Add(DType type, bool isHopper, ReadOnlySpan<ushort> a, ReadOnlySpan<ushort> b, uint sum) => isHopper
        ? Step(type, fractionBits: 25, a, b, sum)
        : Step(type, fractionBits: 24, a[8..], b[8..], Step(type, fractionBits: 24, a[..8], b[..8], sum));

    private static uint Step(DType type, int fractionBits, ReadOnlySpan<ushort> a, ReadOnlySpan<ushort> b, uint sum)
    {
        Format format = type == DType.F16 ? new(ExponentBits: 5, FractionBits: 10) : new(ExponentBits: 8, FractionBits: 7);
        Number addend = Number.Read(sum, new(ExponentBits: 8, FractionBits: 23));
        var terms = new List<(BigInteger Value, int Scale, int Exponent)> { (addend.Signed, addend.Exponent - 23, addend.Exponent) };
        double special = BitConverter.UInt32BitsToSingle(sum);
        for (int k = 0; k < a.Length; k++)
        {
            Number x = Number.Read(a[k], format), y = Number.Read(b[k], format);
            special += x.AsDouble * y.AsDouble;
            if (x.IsFinite && y.IsFinite && !(x.Signed * y.Signed).IsZero)
                terms.Add((x.Signed * y.Signed, x.Exponent + y.Exponent - 2 * format.FractionBits, x.Exponent + y.Exponent));
        }
        if (double.IsNaN(special)) return Nan;
        if (double.IsInfinity(special)) return special > 0 ? Infinity : 0x80000000 | Infinity;

        int unit = terms.Max(term => term.Exponent) - fractionBits;
        return Cut(terms.Aggregate(BigInteger.Zero, (total, term) => total + Shift(term.Value, term.Scale - unit)), unit);
    }

    // value · 2^bits, toward zero.
    private static BigInteger Shift(BigInteger value, int bits) => bits >= 0 ? value << bits : BigInteger.Divide(value, BigInteger.One << -bits);

    // value · 2^scale as F32, toward zero.
    private static uint Cut(BigInteger value, int scale)
    {
        uint sign = value.Sign < 0 ? 0x80000000 : 0;
        BigInteger magnitude = BigInteger.Abs(value);
        int lowest = Math.Max((int)magnitude.GetBitLength() + scale - 24, -149);
        uint significand = (uint)Shift(magnitude, scale - lowest);
        if (significand < 0x800000) return sign | significand; // subnormal, lowest is -149
        int biased = lowest + 150;
        return biased > 254 ? sign | Infinity : sign | ((uint)biased << 23) | (significand & 0x7FFFFF);
    }

    private readonly record struct Format(int ExponentBits, int FractionBits)
    {
        public int Bias => (1 << (ExponentBits - 1)) - 1;
    }

    // A finite number is Signed · 2^(Exponent - fraction bits).
    private readonly record struct Number(BigInteger Signed, int Exponent, double AsDouble, bool IsFinite)
    {
        public static Number Read(uint bits, Format format)
        {
            uint fraction = bits & ((1u << format.FractionBits) - 1);
            int top = (1 << format.ExponentBits) - 1, biased = (int)(bits >> format.FractionBits) & top;
            int sign = (bits >> (format.FractionBits + format.ExponentBits) & 1) == 0 ? 1 : -1;
            if (biased == top) return new(0, 0, fraction == 0 ? sign * double.PositiveInfinity : double.NaN, IsFinite: false);

            int exponent = Math.Max(biased, 1) - format.Bias;
            long significand = sign * (fraction | (biased == 0 ? 0L : 1L << format.FractionBits));
            return new(significand, exponent, Math.ScaleB((double)significand, exponent - format.FractionBits), IsFinite: true);
        }
    }
}
