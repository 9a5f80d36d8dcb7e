using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Sixteen lanes in one AVX-512 register.</summary>
internal readonly unsafe struct Lanes512(Vector512<float> vector) : ILanes<Lanes512>
{
    private readonly Vector512<float> _vector = vector;

    public static bool HasManyRegisters => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Fill(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 FillPairs(float a, float b) => new(Vector512.Create(Vector256.Create(Vector128.Create(a, a, b, b))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadCodes4(uint* words, int shift) => new(Avx512F.PermuteVar16x32( // looks at four bits of an index
        Vector512.Create(-8f, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7), (Vector512.Load(words) >>> shift).AsInt32()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadCodes8(uint* words, int shift)
    {
        Vector512<uint> code = ((Vector512.Load(words) >>> shift) & Vector512.Create(0xFFu)) | Vector512.Create(0x4B00_0000u); // 2^23 + code
        return new(code.AsSingle() - Vector512.Create(8_388_608f + 128));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Load<T>(T* source) where T : unmanaged => new(Widen.Load512(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(Lanes512 value, T* destination) where T : unmanaged => Narrow.Store512(value._vector, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator +(Lanes512 left, Lanes512 right) => new(left._vector + right._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator -(Lanes512 left, Lanes512 right) => new(left._vector - right._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator *(Lanes512 left, Lanes512 right) => new(left._vector * right._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 operator /(Lanes512 left, Lanes512 right) => new(left._vector / right._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 FusedMultiplyAdd(Lanes512 a, Lanes512 b, Lanes512 c) => new(Avx512F.FusedMultiplyAdd(a._vector, b._vector, c._vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Max(Lanes512 a, Lanes512 b) => new(Avx512F.Max(a._vector, b._vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Min(Lanes512 a, Lanes512 b) => new(Avx512F.Min(a._vector, b._vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Scale(Lanes512 value, Lanes512 exponent) => new(Avx512F.Scale(value._vector, exponent._vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Split(Lanes512 value, out Lanes512 exponent)
    {
        exponent = new(Avx512F.GetExponent(value._vector));
        return new(((value._vector.AsUInt32() & Vector512.Create(0x007FFFFFu)) | Vector512.Create(0x3F800000u)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 First(Lanes512 value, int count, float rest) => new(Vector512.ConditionalSelect(
        Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count)).AsSingle(), value._vector, Vector512.Create(rest)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint GreaterOrEqual(Lanes512 a, Lanes512 b) => (uint)Vector512.GreaterThanOrEqual(a._vector, b._vector).ExtractMostSignificantBits();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 SelectLess(Lanes512 left, Lanes512 right, Lanes512 a, Lanes512 b) =>
        new(Vector512.ConditionalSelect(Vector512.LessThan(left._vector, right._vector), a._vector, b._vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes512 value) => Lanes256.Sum8(value._vector.GetLower() + value._vector.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Lanes512 value) => Lanes256.Largest8(Avx.Max(value._vector.GetLower(), value._vector.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 HalfSums(Lanes512 v0, Lanes512 v1, Lanes512 v2, Lanes512 v3)
    {
        Vector512<float> s01 = Quarters(v0._vector, v1._vector, 0x44) + Quarters(v0._vector, v1._vector, 0xEE);
        Vector512<float> s23 = Quarters(v2._vector, v3._vector, 0x44) + Quarters(v2._vector, v3._vector, 0xEE);
        return new(Quarters(s01, s23, 0x88) + Quarters(s01, s23, 0xDD));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 FinishSums(Lanes512 h0, Lanes512 h1, Lanes512 h2, Lanes512 h3)
    {
        Vector512<float> s01 = Avx512F.Shuffle(h0._vector, h1._vector, 0x44) + Avx512F.Shuffle(h0._vector, h1._vector, 0xEE);
        Vector512<float> s23 = Avx512F.Shuffle(h2._vector, h3._vector, 0x44) + Avx512F.Shuffle(h2._vector, h3._vector, 0xEE);
        return new(Avx512F.Shuffle(s01, s23, 0x88) + Avx512F.Shuffle(s01, s23, 0xDD));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Quarters(Vector512<float> a, Vector512<float> b, [ConstantExpected] byte control) => Avx512F.Shuffle4x128(a, b, control);
}
