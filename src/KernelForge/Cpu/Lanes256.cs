using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Sixteen lanes in two AVX2 registers.</summary>
internal unsafe struct Lanes256(Vector256<float> low, Vector256<float> high) : ILanes<Lanes256>
{
    private Vector256<float> _low = low, _high = high;

    public static bool HasManyRegisters => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Fill(float value) => new(Vector256.Create(value), Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Fill(float* source)
    {
        Vector256<float> all = Avx.BroadcastScalarToVector256(source); // from memory: Vector256.Create takes a shuffle
        return new(all, all);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadBytes(byte* source) =>
        new(Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(source)), Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(source + 8)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadLower<T>(uint* words) where T : unmanaged =>
        new(Widen.Lower<T>(Vector256.Load(words)), Widen.Lower<T>(Vector256.Load(words + 8)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadUpper<T>(uint* words) where T : unmanaged =>
        new(Widen.Upper<T>(Vector256.Load(words)), Widen.Upper<T>(Vector256.Load(words + 8)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LowestCode4(Lanes256 words) => Code(words, 0, 4, Fill(8_388_608f + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 ShiftRight(Lanes256 words, int count) =>
        new((words._low.AsUInt32() >>> count).AsSingle(), (words._high.AsUInt32() >>> count).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Code(Lanes256 words, int first, int bits, Lanes256 less) =>
        new(Biased(words._low, first, bits) - less._low, Biased(words._high, first, bits) - less._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Load<T>(T* source) where T : unmanaged => new(Widen.Load256(source), Widen.Load256(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose<T>(T** rows, nint offset, float* destination, nint stride) where T : unmanaged
    {
        TransposeHalf(rows, offset, destination, stride);
        TransposeHalf(rows + 8, offset, destination + 8, stride);
    }

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
    public static void AddProducts(
        float x, Lanes256 a, Lanes256 b, Lanes256 c, Lanes256 d, ref Lanes256 sumA, ref Lanes256 sumB, ref Lanes256 sumC, ref Lanes256 sumD)
    {
        Vector256<float> all = Vector256.Create(x);
        sumA._low = Fma.MultiplyAdd(all, a._low, sumA._low);
        sumA._high = Fma.MultiplyAdd(all, a._high, sumA._high);
        sumB._low = Fma.MultiplyAdd(all, b._low, sumB._low);
        sumB._high = Fma.MultiplyAdd(all, b._high, sumB._high);
        sumC._low = Fma.MultiplyAdd(all, c._low, sumC._low);
        sumC._high = Fma.MultiplyAdd(all, c._high, sumC._high);
        sumD._low = Fma.MultiplyAdd(all, d._low, sumD._low);
        sumD._high = Fma.MultiplyAdd(all, d._high, sumD._high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProducts(float* x, Lanes256 factor, ref Lanes256 sum0, ref Lanes256 sum1, ref Lanes256 sum2, ref Lanes256 sum3)
    {
        Vector256<float> x0 = Vector256.Create(x[0]);
        sum0._low = Fma.MultiplyAdd(x0, factor._low, sum0._low);
        sum0._high = Fma.MultiplyAdd(x0, factor._high, sum0._high);
        Vector256<float> x1 = Vector256.Create(x[1]);
        sum1._low = Fma.MultiplyAdd(x1, factor._low, sum1._low);
        sum1._high = Fma.MultiplyAdd(x1, factor._high, sum1._high);
        Vector256<float> x2 = Vector256.Create(x[2]);
        sum2._low = Fma.MultiplyAdd(x2, factor._low, sum2._low);
        sum2._high = Fma.MultiplyAdd(x2, factor._high, sum2._high);
        Vector256<float> x3 = Vector256.Create(x[3]);
        sum3._low = Fma.MultiplyAdd(x3, factor._low, sum3._low);
        sum3._high = Fma.MultiplyAdd(x3, factor._high, sum3._high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddScaled(Lanes256 value, float* scales, float* totals)
    {
        Fma.MultiplyAdd(Vector256.Load(scales), value._low, Vector256.Load(totals)).Store(totals);
        Fma.MultiplyAdd(Vector256.Load(scales + 8), value._high, Vector256.Load(totals + 8)).Store(totals + 8);
    }

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
    private static Vector256<float> Biased(Vector256<float> words, int first, int bits) =>
        ((words.AsUInt32() & Vector256.Create(Lanes.Mask(first, bits))) | Vector256.Create(Lanes.Bias(first))).AsSingle();

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

    /// <summary>Sixteen bytes of each of eight rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransposeHalf<T>(T** rows, nint offset, float* destination, nint stride) where T : unmanaged
    {
        Vector256<float> r0 = EveryFourth(rows, offset), r1 = EveryFourth(rows + 1, offset), r2 = EveryFourth(rows + 2, offset), r3 = EveryFourth(rows + 3, offset);
        Vector256<float> low01 = Avx.UnpackLow(r0, r1), low23 = Avx.UnpackLow(r2, r3), high01 = Avx.UnpackHigh(r0, r1), high23 = Avx.UnpackHigh(r2, r3);
        nint step = stride * sizeof(float) / sizeof(T); // elements of a word
        StoreWords<T>(Avx.Shuffle(low01, low23, 0x44), destination, stride);
        StoreWords<T>(Avx.Shuffle(low01, low23, 0xEE), destination + step, stride);
        StoreWords<T>(Avx.Shuffle(high01, high23, 0x44), destination + 2 * step, stride);
        StoreWords<T>(Avx.Shuffle(high01, high23, 0xEE), destination + 3 * step, stride);
    }

    /// <summary>Sixteen bytes of the rows 0 and 4 from here.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> EveryFourth<T>(T** rows, nint offset) where T : unmanaged =>
        Vector256.Create(Vector128.Load((float*)(rows[0] + offset)), Vector128.Load((float*)(rows[4] + offset)));

    /// <summary>One F32, or two elements of 16 bits, of eight rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreWords<T>(Vector256<float> words, float* destination, nint stride) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
        {
            words.Store(destination);
            return;
        }
        Widen.Lower<T>(words.AsUInt32()).Store(destination);
        Widen.Upper<T>(words.AsUInt32()).Store(destination + stride);
    }
}
