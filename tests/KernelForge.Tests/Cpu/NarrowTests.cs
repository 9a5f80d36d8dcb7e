using KernelForge.Cpu;

namespace KernelForge.Tests;

public unsafe class NarrowTests
{
    // Around every F16 and BF16: the number, the middle to the next one (a tie), and one unit in the last place of F32 to either side of both.
    private static float[] Boundaries(int fractionBitsLost)
    {
        var values = new List<float>();
        for (uint code = 0; code < 65_536; code++)
        {
            uint bits = fractionBitsLost == 16 ? code << 16 : BitConverter.SingleToUInt32Bits((float)BitConverter.UInt16BitsToHalf((ushort)code));
            uint middle = bits + (1u << (fractionBitsLost - 1));
            foreach (uint near in (uint[])[bits - 1, bits, bits + 1, middle - 1, middle, middle + 1]) values.Add(BitConverter.UInt32BitsToSingle(near));
        }
        return [.. values];
    }

    [Fact]
    public void Row_ToF16_EqualsTheConversionOfHalf()
    {
        var random = new Random(1);
        float[] values = [.. Boundaries(fractionBitsLost: 13), .. SubnormalTies(),
            .. Enumerable.Range(0, 100_000).Select(_ => BitConverter.Int32BitsToSingle(random.Next() ^ (random.Next(2) << 31)))];
        var actual = new Half[values.Length];
        fixed (float* source = values)
        fixed (Half* destination = actual) Narrow.Row(DType.F16, source, destination, values.Length);

        for (int i = 0; i < values.Length; i++)
        {
            Half expected = (Half)values[i];
            bool isSame = Half.IsNaN(expected) ? Half.IsNaN(actual[i]) : BitConverter.HalfToUInt16Bits(expected) == BitConverter.HalfToUInt16Bits(actual[i]);
            if (!isSame) Assert.Fail($"{values[i]:G9}: expected {expected}, got {actual[i]}");
        }
    }

    [Fact]
    public void Row_ToBF16_EqualsTheConversionOfBFloat16()
    {
        float[] values = Boundaries(fractionBitsLost: 16);
        var actual = new BFloat16[values.Length];
        fixed (float* source = values)
        fixed (BFloat16* destination = actual) Narrow.Row(DType.BF16, source, destination, values.Length);

        for (int i = 0; i < values.Length; i++)
            if (((BFloat16)values[i]).ToBits() != actual[i].ToBits()) Assert.Fail($"{values[i]:G9}: expected {(BFloat16)values[i]}, got {actual[i]}");
    }

    [Fact]
    public void Row_PartOfAVector_LeavesTheRestAlone()
    {
        foreach (DType type in (DType[])[DType.F32, DType.F16, DType.BF16])
            for (int count = 0; count < 20; count++)
            {
                float[] values = [.. Enumerable.Range(1, 20).Select(i => (float)i)];
                byte[] actual = [.. Enumerable.Repeat((byte)0xCC, 80)];
                fixed (float* source = values)
                fixed (byte* destination = actual) Narrow.Row(type, source, destination, count);
                Assert.All(actual[(count * type.Size())..], value => Assert.Equal(0xCC, value));
                Assert.Equal(count > 0, actual[0] != 0xCC || actual[1] != 0xCC);
            }
    }

    /// <summary>Odd multiples of 2^-25, in the middle between two subnormal F16, and their neighbours.</summary>
    private static IEnumerable<float> SubnormalTies() =>
        from odd in Enumerable.Range(0, 1025)
        from sign in (float[])[1, -1]
        let tie = sign * (2 * odd + 1) * MathF.Pow(2, -25)
        from value in (float[])[tie, MathF.BitIncrement(tie), MathF.BitDecrement(tie)]
        select value;
}
