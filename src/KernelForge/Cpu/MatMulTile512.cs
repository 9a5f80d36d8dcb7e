using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// The tile with AVX-512: one accumulator is the sixteen lanes of one output. Three rows by eight columns take 24 accumulators and
/// 3 + 1 registers for the operands: 28 of 32, and 11 loads for 24 multiply-adds.
/// </summary>
internal readonly unsafe struct MatMulTile512 : IMatMulTile
{
    public static int Rows => 3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddChunk<T>(int rows, float* x, T* weights, nint weightStride, int length, float* totals, int totalStride, bool isFirst)
        where T : unmanaged
    {
        if (rows == 3) ThreeRows(x, weights, weightStride, length, totals, totalStride, isFirst);
        else if (rows == 2) TwoRows(x, weights, weightStride, length, totals, totalStride, isFirst);
        else OneRow(x, weights, weightStride, length, totals, isFirst);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void ThreeRows<T>(float* x, T* weights, nint stride, int length, float* totals, int totalStride, bool isFirst) where T : unmanaged
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        Vector512<float> b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        float* xb = x + length, xc = xb + length;
        T* w1 = weights + stride, w2 = w1 + stride, w3 = w2 + stride, w4 = w3 + stride, w5 = w4 + stride, w6 = w5 + stride, w7 = w6 + stride;
        for (nint k = 0; k < length; k += Lanes.Count)
        {
            Vector512<float> a = Vector512.Load(x + k), b = Vector512.Load(xb + k), c = Vector512.Load(xc + k);
            Vector512<float> w = Widen.Load512(weights + k);
            (a0, b0, c0) = (Fma(a, w, a0), Fma(b, w, b0), Fma(c, w, c0));
            w = Widen.Load512(w1 + k);
            (a1, b1, c1) = (Fma(a, w, a1), Fma(b, w, b1), Fma(c, w, c1));
            w = Widen.Load512(w2 + k);
            (a2, b2, c2) = (Fma(a, w, a2), Fma(b, w, b2), Fma(c, w, c2));
            w = Widen.Load512(w3 + k);
            (a3, b3, c3) = (Fma(a, w, a3), Fma(b, w, b3), Fma(c, w, c3));
            w = Widen.Load512(w4 + k);
            (a4, b4, c4) = (Fma(a, w, a4), Fma(b, w, b4), Fma(c, w, c4));
            w = Widen.Load512(w5 + k);
            (a5, b5, c5) = (Fma(a, w, a5), Fma(b, w, b5), Fma(c, w, c5));
            w = Widen.Load512(w6 + k);
            (a6, b6, c6) = (Fma(a, w, a6), Fma(b, w, b6), Fma(c, w, c6));
            w = Widen.Load512(w7 + k);
            (a7, b7, c7) = (Fma(a, w, a7), Fma(b, w, b7), Fma(c, w, c7));
        }
        AddSums(a0, a1, a2, a3, a4, a5, a6, a7, totals, isFirst);
        AddSums(b0, b1, b2, b3, b4, b5, b6, b7, totals + totalStride, isFirst);
        AddSums(c0, c1, c2, c3, c4, c5, c6, c7, totals + 2 * totalStride, isFirst);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void TwoRows<T>(float* x, T* weights, nint stride, int length, float* totals, int totalStride, bool isFirst) where T : unmanaged
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        Vector512<float> b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        float* xb = x + length;
        T* w1 = weights + stride, w2 = w1 + stride, w3 = w2 + stride, w4 = w3 + stride, w5 = w4 + stride, w6 = w5 + stride, w7 = w6 + stride;
        for (nint k = 0; k < length; k += Lanes.Count)
        {
            Vector512<float> a = Vector512.Load(x + k), b = Vector512.Load(xb + k);
            Vector512<float> w = Widen.Load512(weights + k);
            (a0, b0) = (Fma(a, w, a0), Fma(b, w, b0));
            w = Widen.Load512(w1 + k);
            (a1, b1) = (Fma(a, w, a1), Fma(b, w, b1));
            w = Widen.Load512(w2 + k);
            (a2, b2) = (Fma(a, w, a2), Fma(b, w, b2));
            w = Widen.Load512(w3 + k);
            (a3, b3) = (Fma(a, w, a3), Fma(b, w, b3));
            w = Widen.Load512(w4 + k);
            (a4, b4) = (Fma(a, w, a4), Fma(b, w, b4));
            w = Widen.Load512(w5 + k);
            (a5, b5) = (Fma(a, w, a5), Fma(b, w, b5));
            w = Widen.Load512(w6 + k);
            (a6, b6) = (Fma(a, w, a6), Fma(b, w, b6));
            w = Widen.Load512(w7 + k);
            (a7, b7) = (Fma(a, w, a7), Fma(b, w, b7));
        }
        AddSums(a0, a1, a2, a3, a4, a5, a6, a7, totals, isFirst);
        AddSums(b0, b1, b2, b3, b4, b5, b6, b7, totals + totalStride, isFirst);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneRow<T>(float* x, T* weights, nint stride, int length, float* totals, bool isFirst) where T : unmanaged
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        T* w1 = weights + stride, w2 = w1 + stride, w3 = w2 + stride, w4 = w3 + stride, w5 = w4 + stride, w6 = w5 + stride, w7 = w6 + stride;
        for (nint k = 0; k < length; k += Lanes.Count)
        {
            Vector512<float> a = Vector512.Load(x + k);
            a0 = Fma(a, Widen.Load512(weights + k), a0);
            a1 = Fma(a, Widen.Load512(w1 + k), a1);
            a2 = Fma(a, Widen.Load512(w2 + k), a2);
            a3 = Fma(a, Widen.Load512(w3 + k), a3);
            a4 = Fma(a, Widen.Load512(w4 + k), a4);
            a5 = Fma(a, Widen.Load512(w5 + k), a5);
            a6 = Fma(a, Widen.Load512(w6 + k), a6);
            a7 = Fma(a, Widen.Load512(w7 + k), a7);
        }
        AddSums(a0, a1, a2, a3, a4, a5, a6, a7, totals, isFirst);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Fma(Vector512<float> x, Vector512<float> weight, Vector512<float> sum) =>
        Avx512F.FusedMultiplyAdd(x, weight, sum);

    /// <summary>The tree over the lanes of eight neighbouring outputs at once: at each level two vectors become one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddSums(
        Vector512<float> s0, Vector512<float> s1, Vector512<float> s2, Vector512<float> s3,
        Vector512<float> s4, Vector512<float> s5, Vector512<float> s6, Vector512<float> s7, float* totals, bool isFirst)
    {
        Vector512<float> s01 = FoldHalves(s0, s1), s23 = FoldHalves(s2, s3), s45 = FoldHalves(s4, s5), s67 = FoldHalves(s6, s7);
        Vector512<float> s0123 = FoldQuarters(s01, s23), s4567 = FoldQuarters(s45, s67); // four lanes each
        Vector512<float> two = Avx512F.Shuffle(s0123, s4567, 0b01_00_01_00) + Avx512F.Shuffle(s0123, s4567, 0b11_10_11_10); // 0 0 4 4 | 1 1 5 5 | ...
        Vector512<float> one = Avx512F.Shuffle(two, two, 0b10_00_10_00) + Avx512F.Shuffle(two, two, 0b11_01_11_01); // 0 4 0 4 | 1 5 1 5 | ...
        Vector256<float> sums = Avx512F.PermuteVar16x32(one, Vector512.Create(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0)).GetLower();
        if (!isFirst) sums = Vector256.Load(totals) + sums;
        sums.Store(totals);
    }

    /// <summary>Lane l plus lane l + 8 of both: eight lanes of a, eight of b.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> FoldHalves(Vector512<float> a, Vector512<float> b) =>
        Avx512F.Shuffle4x128(a, b, 0b01_00_01_00) + Avx512F.Shuffle4x128(a, b, 0b11_10_11_10);

    /// <summary>Of vectors with two halves, lane l plus lane l + 4 of each half: four lanes of each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> FoldQuarters(Vector512<float> a, Vector512<float> b) =>
        Avx512F.Shuffle4x128(a, b, 0b10_00_10_00) + Avx512F.Shuffle4x128(a, b, 0b11_01_11_01);
}
