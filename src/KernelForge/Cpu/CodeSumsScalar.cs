namespace KernelForge.Cpu;

/// <summary>Sixteen sums one after the other, for processors without the vector instructions; also the plain statement of what the vectors do.</summary>
internal unsafe struct CodeSumsScalar : ICodeSums<CodeSumsScalar>
{
    private fixed int _sum[Lanes.Count];

    public static CodeSumsScalar Fill(int value)
    {
        CodeSumsScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._sum[i] = value;
        return result;
    }

    public static CodeSumsScalar LoadBytes(byte* source)
    {
        CodeSumsScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._sum[i] = source[i];
        return result;
    }

    public static CodeSumsScalar LoadLine(uint* line)
    {
        CodeSumsScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._sum[i] = (int)line[i];
        return result;
    }

    public static CodeSumsScalar First<TCodes>(CodeSumsScalar line) where TCodes : struct, IPackedCodes
    {
        for (int i = 0; i < Lanes.Count; i++) line._sum[i] &= TCodes.Bits == 4 ? 0x0F0F0F0F : 0x00FF00FF;
        return line;
    }

    public static CodeSumsScalar Second<TCodes>(CodeSumsScalar line) where TCodes : struct, IPackedCodes
    {
        for (int i = 0; i < Lanes.Count; i++) line._sum[i] >>>= TCodes.Bits;
        return First<TCodes>(line);
    }

    public static CodeSumsScalar AddProducts<TCodes>(CodeSumsScalar sums, CodeSumsScalar codes, uint x) where TCodes : struct, IPackedCodes
    {
        for (int i = 0; i < Lanes.Count; i++)
        {
            int code = codes._sum[i];
            if (TCodes.Bits == 8) sums._sum[i] += (short)code * (short)x + (code >> 16) * ((int)x >> 16);
            else
                for (int shift = 0; shift < 32; shift += 8) sums._sum[i] += (code >> shift & 0xFF) * (sbyte)(x >> shift);
        }
        return sums;
    }

    public static CodeSumsScalar Widen<TCodes>(CodeSumsScalar sums) where TCodes : struct, IPackedCodes => sums;

    public static CodeSumsScalar operator +(CodeSumsScalar left, CodeSumsScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left._sum[i] += right._sum[i];
        return left;
    }

    public static CodeSumsScalar operator *(CodeSumsScalar left, CodeSumsScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left._sum[i] *= right._sum[i];
        return left;
    }

    public static void AddTo(float* totals, CodeSumsScalar sums, float scale, float* scales)
    {
        for (int i = 0; i < Lanes.Count; i++) totals[i] = MathF.FusedMultiplyAdd(sums._sum[i] * scale, scales[i], totals[i]);
    }
}
