using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Sixteen lanes in one AVX-512 register.</summary>
internal unsafe struct Lanes512(Vector512<float> vector) : ILanes<Lanes512>
{
    private Vector512<float> _vector = vector;

    public static bool HasManyRegisters => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Fill(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Fill(float* source) => new(Vector512.Create(*source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadBytes(byte* source) => new(Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(source))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadLower<T>(uint* words) where T : unmanaged => new(Widen.Lower<T>(Vector512.Load(words)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadUpper<T>(uint* words) where T : unmanaged => new(Widen.Upper<T>(Vector512.Load(words)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LowestCode4(Lanes512 words) => new(Avx512F.PermuteVar16x32( // looks at four bits of an index
        Vector512.Create(-8f, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7), words._vector.AsInt32()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 ShiftRight(Lanes512 words, int count) => new((words._vector.AsUInt32() >>> count).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Code(Lanes512 words, int first, int bits, Lanes512 less) =>
        new(((words._vector.AsUInt32() & Vector512.Create(Lanes.Mask(first, bits))) | Vector512.Create(Lanes.Bias(first))).AsSingle() - less._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Load<T>(T* source) where T : unmanaged => new(Widen.Load512(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose<T>(T** rows, nint offset, float* destination, nint stride) where T : unmanaged
    {
        Vector512<float> r0 = EveryFourth(rows, offset), r1 = EveryFourth(rows + 1, offset), r2 = EveryFourth(rows + 2, offset), r3 = EveryFourth(rows + 3, offset);
        Vector512<float> low01 = Avx512F.UnpackLow(r0, r1), low23 = Avx512F.UnpackLow(r2, r3), high01 = Avx512F.UnpackHigh(r0, r1), high23 = Avx512F.UnpackHigh(r2, r3);
        nint step = stride * sizeof(float) / sizeof(T); // elements of a word
        StoreWords<T>(Avx512F.Shuffle(low01, low23, 0x44), destination, stride);
        StoreWords<T>(Avx512F.Shuffle(low01, low23, 0xEE), destination + step, stride);
        StoreWords<T>(Avx512F.Shuffle(high01, high23, 0x44), destination + 2 * step, stride);
        StoreWords<T>(Avx512F.Shuffle(high01, high23, 0xEE), destination + 3 * step, stride);
    }

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
    public static void AddProducts(
        float x, Lanes512 a, Lanes512 b, Lanes512 c, Lanes512 d, ref Lanes512 sumA, ref Lanes512 sumB, ref Lanes512 sumC, ref Lanes512 sumD)
    {
        Vector512<float> all = Vector512.Create(x);
        sumA._vector = Avx512F.FusedMultiplyAdd(all, a._vector, sumA._vector);
        sumB._vector = Avx512F.FusedMultiplyAdd(all, b._vector, sumB._vector);
        sumC._vector = Avx512F.FusedMultiplyAdd(all, c._vector, sumC._vector);
        sumD._vector = Avx512F.FusedMultiplyAdd(all, d._vector, sumD._vector);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProducts(float* x, Lanes512 factor, ref Lanes512 sum0, ref Lanes512 sum1, ref Lanes512 sum2, ref Lanes512 sum3)
    {
        sum0._vector = Avx512F.FusedMultiplyAdd(Vector512.Create(x[0]), factor._vector, sum0._vector);
        sum1._vector = Avx512F.FusedMultiplyAdd(Vector512.Create(x[1]), factor._vector, sum1._vector);
        sum2._vector = Avx512F.FusedMultiplyAdd(Vector512.Create(x[2]), factor._vector, sum2._vector);
        sum3._vector = Avx512F.FusedMultiplyAdd(Vector512.Create(x[3]), factor._vector, sum3._vector);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddScaled(Lanes512 value, float* scales, float* totals) =>
        Avx512F.FusedMultiplyAdd(Vector512.Load(scales), value._vector, Vector512.Load(totals)).Store(totals);

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

    /// <summary>Sixteen bytes of the rows 0, 4, 8 and 12 from here.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> EveryFourth<T>(T** rows, nint offset) where T : unmanaged => Vector512.Create(
        Vector256.Create(Vector128.Load((float*)(rows[0] + offset)), Vector128.Load((float*)(rows[4] + offset))),
        Vector256.Create(Vector128.Load((float*)(rows[8] + offset)), Vector128.Load((float*)(rows[12] + offset))));

    /// <summary>One F32, or two elements of 16 bits, of sixteen rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreWords<T>(Vector512<float> words, float* destination, nint stride) where T : unmanaged
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
