namespace KernelForge.Tests;

/// <summary>Operands of one tensor-core product as the lanes hold them: four registers of a, two of b, four of the sum.</summary>
internal static class TensorCoreCases
{
    private const int Lanes = 32, LaneWords = 10, Rows = 16, Columns = 8, Depth = 16;

    /// <summary>Kinds in turn: exact numbers, ordinary ones, far apart exponents, any finite bits, any bits.</summary>
    public static uint[] Draw(Random random, int trial, DType type)
    {
        int spread = type == DType.F16 ? 12 : 40;
        uint top = type == DType.F16 ? 0x7C00u : 0x7F80u;
        Func<double> number = (trial % 5) switch
        {
            0 => () => random.Next(-32, 33) / 8.0,
            1 => () => random.NextDouble() * 4 - 2,
            _ => () => Math.ScaleB(random.NextDouble() * 2 - 1, random.Next(-spread, spread + 1)),
        };
        var words = new uint[Lanes * LaneWords];
        for (int i = 0; i < words.Length; i++)
        {
            bool isOperand = i % LaneWords < 6;
            words[i] = trial % 5 >= 3 ? (uint)random.NextInt64(1L << 32)
                : isOperand ? Round(number(), type) | (uint)Round(number(), type) << 16
                : BitConverter.SingleToUInt32Bits((float)number());
            if (trial % 5 == 3) words[i] = isOperand ? Finite(words[i], top, top << 16) : Finite(words[i], 0x7F800000);
        }
        return words;
    }

    /// <summary>The new sums, four for each lane.</summary>
    public static uint[] Define(uint[] input, DType type, bool isHopper)
    {
        var output = new uint[Lanes * 4];
        Span<ushort> a = stackalloc ushort[Depth], b = stackalloc ushort[Depth];
        for (int row = 0; row < Rows; row++)
            for (int column = 0; column < Columns; column++)
            {
                for (int k = 0; k < Depth; k++)
                {
                    a[k] = Half(input, Lane(row % 8, k % 8 / 2), row / 8 + 2 * (k / 8), k);
                    b[k] = Half(input, Lane(column, k % 8 / 2), 4 + k / 8, k);
                }
                int lane = Lane(row % 8, column / 2), word = column % 2 + 2 * (row / 8);
                output[4 * lane + word] = TensorCoreDefinition.Add(type, isHopper, a, b, input[LaneWords * lane + 6 + word]);
            }
        return output;
    }

    private static int Lane(int group, int pair) => 4 * group + pair;

    private static ushort Half(uint[] input, int lane, int word, int k) => (ushort)(input[LaneWords * lane + word] >> (16 * (k % 2)));

    private static ushort Round(double value, DType type) => type == DType.F16 ? BitConverter.HalfToUInt16Bits((Half)value) : ((BFloat16)(float)value).ToBits();

    // Infinities and NaN become ordinary numbers: no exponent has all of its bits set.
    private static uint Finite(uint bits, params ReadOnlySpan<uint> exponents)
    {
        foreach (uint exponent in exponents)
            if ((bits & exponent) == exponent) bits ^= exponent & 0x40004000;
        return bits;
    }
}
