using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// The tile with AVX2: lanes 0..7 in one accumulator, 8..15 in another. Two rows by two columns take 8 accumulators, 4 + 2 registers
/// for the operands: 14 of 16.
/// </summary>
internal readonly unsafe struct MatMulTile256 : IMatMulTile
{
    public static int Rows => 2;

    public static void AddChunk<T>(int rows, float* x, T* weights, nint weightStride, int length, float* totals, int totalStride, bool isFirst)
        where T : unmanaged
    {
        for (int column = 0; column < IMatMulTile.Columns; column += 2)
        {
            T* w0 = weights + column * weightStride, w1 = w0 + weightStride;
            if (rows == 1) OneRow(x, w0, w1, length, totals + column, isFirst);
            else TwoRows(x, w0, w1, length, totals + column, totalStride, isFirst);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void TwoRows<T>(float* x, T* w0, T* w1, int length, float* totals, int totalStride, bool isFirst) where T : unmanaged
    {
        Vector256<float> low00 = default, high00 = default, low01 = default, high01 = default;
        Vector256<float> low10 = default, high10 = default, low11 = default, high11 = default;
        float* x1 = x + length;
        for (nint k = 0; k < length; k += Lanes.Count)
        {
            Vector256<float> xLow0 = Vector256.Load(x + k), xLow1 = Vector256.Load(x1 + k);
            Vector256<float> w = Widen.Load256(w0 + k);
            low00 = Fma.MultiplyAdd(xLow0, w, low00);
            low10 = Fma.MultiplyAdd(xLow1, w, low10);
            w = Widen.Load256(w1 + k);
            low01 = Fma.MultiplyAdd(xLow0, w, low01);
            low11 = Fma.MultiplyAdd(xLow1, w, low11);

            Vector256<float> xHigh0 = Vector256.Load(x + k + 8), xHigh1 = Vector256.Load(x1 + k + 8);
            w = Widen.Load256(w0 + k + 8);
            high00 = Fma.MultiplyAdd(xHigh0, w, high00);
            high10 = Fma.MultiplyAdd(xHigh1, w, high10);
            w = Widen.Load256(w1 + k + 8);
            high01 = Fma.MultiplyAdd(xHigh0, w, high01);
            high11 = Fma.MultiplyAdd(xHigh1, w, high11);
        }
        AddSums(low00 + high00, low01 + high01, totals, isFirst);
        AddSums(low10 + high10, low11 + high11, totals + totalStride, isFirst);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneRow<T>(float* x, T* w0, T* w1, int length, float* totals, bool isFirst) where T : unmanaged
    {
        Vector256<float> low0 = default, high0 = default, low1 = default, high1 = default;
        for (nint k = 0; k < length; k += Lanes.Count)
        {
            Vector256<float> xLow = Vector256.Load(x + k), xHigh = Vector256.Load(x + k + 8);
            low0 = Fma.MultiplyAdd(xLow, Widen.Load256(w0 + k), low0);
            high0 = Fma.MultiplyAdd(xHigh, Widen.Load256(w0 + k + 8), high0);
            low1 = Fma.MultiplyAdd(xLow, Widen.Load256(w1 + k), low1);
            high1 = Fma.MultiplyAdd(xHigh, Widen.Load256(w1 + k + 8), high1);
        }
        AddSums(low0 + high0, low1 + high1, totals, isFirst);
    }

    /// <summary>The rest of the tree over eight lanes, for two neighbouring outputs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddSums(Vector256<float> a, Vector256<float> b, float* totals, bool isFirst)
    {
        Vector128<float> fourA = a.GetLower() + a.GetUpper(), fourB = b.GetLower() + b.GetUpper();
        Vector128<float> two = Sse.Shuffle(fourA, fourB, 0b01_00_01_00) + Sse.Shuffle(fourA, fourB, 0b11_10_11_10); // a a b b
        Vector128<float> one = Sse.Shuffle(two, two, 0b10_00_10_00) + Sse.Shuffle(two, two, 0b11_01_11_01); // a b a b
        if (!isFirst) one = Sse2.LoadScalarVector128((double*)totals).AsSingle() + one;
        Sse2.StoreScalar((double*)totals, one.AsDouble());
    }
}
