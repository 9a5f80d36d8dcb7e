using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Sixteen sums in one AVX-512 register.</summary>
internal readonly unsafe struct CodeSums512(Vector512<int> vector) : ICodeSums<CodeSums512>
{
    private readonly Vector512<int> _vector = vector;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 Fill(int value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 LoadBytes(byte* source) => new(Avx512F.ConvertToVector512Int32(Vector128.Load(source)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 LoadLine(uint* line) => new(Vector512.Load((int*)line));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 First<TCodes>(CodeSums512 line) where TCodes : struct, IPackedCodes =>
        new(line._vector & Vector512.Create(TCodes.Bits == 4 ? 0x0F0F0F0F : 0x00FF00FF));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 Second<TCodes>(CodeSums512 line) where TCodes : struct, IPackedCodes => TCodes.Bits == 4
        ? new((line._vector >>> 4) & Vector512.Create(0x0F0F0F0F))
        : new((line._vector.AsUInt16() >>> 8).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 AddProducts<TCodes>(CodeSums512 sums, CodeSums512 codes, uint x) where TCodes : struct, IPackedCodes
    {
        Vector512<uint> words = Vector512.Create(x);
        return TCodes.Bits == 4
            ? new((sums._vector.AsInt16() + Avx512BW.MultiplyAddAdjacent(codes._vector.AsByte(), words.AsSByte())).AsInt32())
            : new(sums._vector + Avx512BW.MultiplyAddAdjacent(codes._vector.AsInt16(), words.AsInt16()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 Widen<TCodes>(CodeSums512 sums) where TCodes : struct, IPackedCodes =>
        TCodes.Bits == 4 ? new(Avx512BW.MultiplyAddAdjacent(sums._vector.AsInt16(), Vector512<short>.One)) : sums;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 operator +(CodeSums512 left, CodeSums512 right) => new(left._vector + right._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static CodeSums512 operator *(CodeSums512 left, CodeSums512 right) => new(left._vector * right._vector);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddTo(float* totals, CodeSums512 sums, float scale, float* scales)
    {
        Vector512<float> scaled = Avx512F.ConvertToVector512Single(sums._vector) * Vector512.Create(scale);
        Avx512F.FusedMultiplyAdd(scaled, Vector512.Load(scales), Vector512.Load(totals)).Store(totals);
    }
}
