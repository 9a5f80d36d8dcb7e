using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Sixteen lanes in two AVX2 registers.</summary>
internal readonly unsafe struct Lanes256(Vector256<float> low, Vector256<float> high) : ILanes<Lanes256>
{
    private readonly Vector256<float> _low = low, _high = high;

    public static bool HasManyRegisters => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Fill(float value) => new(Vector256.Create(value), Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 FillPairs(float a, float b)
    {
        Vector256<float> pairs = Vector256.Create(Vector128.Create(a, a, b, b));
        return new(pairs, pairs);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadCodes4(uint* words, int shift) => new(Codes4(words, shift), Codes4(words + 8, shift));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadCodes8(uint* words, int shift) => new(Codes8(words, shift), Codes8(words + 8, shift));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Load<T>(T* source) where T : unmanaged => new(Widen.Load256(source), Widen.Load256(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(Lanes256 value, T* destination) where T : unmanaged => Narrow.Store256(value._low, value._high, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator +(Lanes256 left, Lanes256 right) => new(left._low + right._low, left._high + right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator -(Lanes256 left, Lanes256 right) => new(left._low - right._low, left._high - right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator *(Lanes256 left, Lanes256 right) => new(left._low * right._low, left._high * right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 operator /(Lanes256 left, Lanes256 right) => new(left._low / right._low, left._high / right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 FusedMultiplyAdd(Lanes256 a, Lanes256 b, Lanes256 c) =>
        new(Fma.MultiplyAdd(a._low, b._low, c._low), Fma.MultiplyAdd(a._high, b._high, c._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Max(Lanes256 a, Lanes256 b) => new(Avx.Max(a._low, b._low), Avx.Max(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Min(Lanes256 a, Lanes256 b) => new(Avx.Min(a._low, b._low), Avx.Min(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Scale(Lanes256 value, Lanes256 exponent) => new(Scale(value._low, exponent._low), Scale(value._high, exponent._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Split(Lanes256 value, out Lanes256 exponent)
    {
        exponent = new(Exponent(value._low), Exponent(value._high));
        return new(Fraction(value._low), Fraction(value._high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 First(Lanes256 value, int count, float rest)
    {
        Vector256<int> limit = Vector256.Create(count), indices = Vector256<int>.Indices;
        Vector256<float> other = Vector256.Create(rest);
        return new(
            Vector256.ConditionalSelect(Vector256.LessThan(indices, limit).AsSingle(), value._low, other),
            Vector256.ConditionalSelect(Vector256.LessThan(indices + Vector256.Create(8), limit).AsSingle(), value._high, other));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint GreaterOrEqual(Lanes256 a, Lanes256 b) =>
        Vector256.GreaterThanOrEqual(a._low, b._low).ExtractMostSignificantBits() | (Vector256.GreaterThanOrEqual(a._high, b._high).ExtractMostSignificantBits() << 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 SelectLess(Lanes256 left, Lanes256 right, Lanes256 a, Lanes256 b) => new(
        Vector256.ConditionalSelect(Vector256.LessThan(left._low, right._low), a._low, b._low),
        Vector256.ConditionalSelect(Vector256.LessThan(left._high, right._high), a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes256 value) => Sum8(value._low + value._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Lanes256 value) => Largest8(Avx.Max(value._low, value._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 HalfSums(Lanes256 v0, Lanes256 v1, Lanes256 v2, Lanes256 v3) => new(
        HalfSums(v0._low + v0._high, v1._low + v1._high), HalfSums(v2._low + v2._high, v3._low + v3._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 FinishSums(Lanes256 h0, Lanes256 h1, Lanes256 h2, Lanes256 h3) => new(
        FinishSums(h0._low, h1._low, h2._low, h3._low), FinishSums(h0._high, h1._high, h2._high, h3._high));

    /// <summary>The levels xor 4, 2 and 1 of a sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Sum8(Vector256<float> value)
    {
        Vector128<float> four = value.GetLower() + value.GetUpper();
        Vector128<float> two = four + Sse.MoveHighToLow(four, four);
        return two.ToScalar() + two.GetElement(1);
    }

    /// <summary>The levels xor 4, 2 and 1 of a maximum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Largest8(Vector256<float> value)
    {
        Vector128<float> four = Sse.Max(value.GetLower(), value.GetUpper());
        Vector128<float> two = Sse.Max(four, Sse.MoveHighToLow(four, four));
        return Sse.MaxScalar(two, Sse.Shuffle(two, two, 0x55)).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> HalfSums(Vector256<float> a, Vector256<float> b) =>
        Avx.Permute2x128(a, b, 0x20) + Avx.Permute2x128(a, b, 0x31);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> FinishSums(Vector256<float> h0, Vector256<float> h1, Vector256<float> h2, Vector256<float> h3)
    {
        Vector256<float> s01 = Avx.Shuffle(h0, h1, 0x44) + Avx.Shuffle(h0, h1, 0xEE);
        Vector256<float> s23 = Avx.Shuffle(h2, h3, 0x44) + Avx.Shuffle(h2, h3, 0xEE);
        return Avx.Shuffle(s01, s23, 0x88) + Avx.Shuffle(s01, s23, 0xDD);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Codes4(uint* words, int shift) =>
        Avx.ConvertToVector256Single(((Vector256.Load(words) >>> shift) & Vector256.Create(0xFu)).AsInt32() - Vector256.Create(8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Codes8(uint* words, int shift) =>
        Avx.ConvertToVector256Single(((Vector256.Load(words) >>> shift) & Vector256.Create(0xFFu)).AsInt32() - Vector256.Create(128));

    /// <summary>Two factors, because 2^exponent alone may be no normal number. Only the second product can round.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Scale(Vector256<float> value, Vector256<float> exponent)
    {
        Vector256<int> whole = Avx.ConvertToVector256Int32(exponent), half = whole >> 1, bias = Vector256.Create(127);
        return value * ((half + bias) << 23).AsSingle() * ((whole - half + bias) << 23).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Exponent(Vector256<float> value) =>
        Avx.ConvertToVector256Single((value.AsInt32() >>> 23) - Vector256.Create(127));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Fraction(Vector256<float> value) =>
        ((value.AsUInt32() & Vector256.Create(0x007FFFFFu)) | Vector256.Create(0x3F800000u)).AsSingle();
}
