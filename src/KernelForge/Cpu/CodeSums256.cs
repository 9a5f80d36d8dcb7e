using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Sixteen sums in two AVX registers.</summary>
internal readonly unsafe struct CodeSums256(Vector256<int> low, Vector256<int> high) : ICodeSums<CodeSums256>
{
    private readonly Vector256<int> _low = low, _high = high;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 Fill(int value) => new(Vector256.Create(value), Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 LoadBytes(byte* source) => new(Avx2.ConvertToVector256Int32(source), Avx2.ConvertToVector256Int32(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 LoadLine(uint* line) => new(Vector256.Load((int*)line), Vector256.Load((int*)line + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 First<TCodes>(CodeSums256 line) where TCodes : struct, IPackedCodes
    {
        Vector256<int> mask = Vector256.Create(TCodes.Bits == 4 ? 0x0F0F0F0F : 0x00FF00FF);
        return new(line._low & mask, line._high & mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 Second<TCodes>(CodeSums256 line) where TCodes : struct, IPackedCodes => TCodes.Bits == 4
        ? First<TCodes>(new(line._low >>> 4, line._high >>> 4))
        : new((line._low.AsUInt16() >>> 8).AsInt32(), (line._high.AsUInt16() >>> 8).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 AddProducts<TCodes>(CodeSums256 sums, CodeSums256 codes, uint x) where TCodes : struct, IPackedCodes
    {
        Vector256<uint> words = Vector256.Create(x);
        return new(AddProducts<TCodes>(sums._low, codes._low, words), AddProducts<TCodes>(sums._high, codes._high, words));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 Widen<TCodes>(CodeSums256 sums) where TCodes : struct, IPackedCodes => TCodes.Bits == 4
        ? new(Avx2.MultiplyAddAdjacent(sums._low.AsInt16(), Vector256<short>.One), Avx2.MultiplyAddAdjacent(sums._high.AsInt16(), Vector256<short>.One))
        : sums;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 operator +(CodeSums256 left, CodeSums256 right) => new(left._low + right._low, left._high + right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums256 operator *(CodeSums256 left, CodeSums256 right) => new(left._low * right._low, left._high * right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddTo(float* totals, CodeSums256 sums, float scale, float* scales)
    {
        AddTo(totals, sums._low, scale, scales);
        AddTo(totals + 8, sums._high, scale, scales + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> AddProducts<TCodes>(Vector256<int> sums, Vector256<int> codes, Vector256<uint> x) where TCodes : struct, IPackedCodes => TCodes.Bits == 4
        ? (sums.AsInt16() + Avx2.MultiplyAddAdjacent(codes.AsByte(), x.AsSByte())).AsInt32()
        : sums + Avx2.MultiplyAddAdjacent(codes.AsInt16(), x.AsInt16());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddTo(float* totals, Vector256<int> sums, float scale, float* scales)
    {
        Vector256<float> scaled = Avx.ConvertToVector256Single(sums) * Vector256.Create(scale);
        Fma.MultiplyAdd(scaled, Vector256.Load(scales), Vector256.Load(totals)).Store(totals);
    }
}
