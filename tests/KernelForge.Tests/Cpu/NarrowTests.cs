using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KernelForge.Cpu;

namespace KernelForge.Tests;

public sealed unsafe class NarrowTests
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
    public void Store_ToF16InEveryWidth_EqualsTheConversionOfHalf()
    {
        var random = new Random(1);
        AssertEveryWidth([.. Boundaries(fractionBitsLost: 13), .. SubnormalTies(),
            .. Enumerable.Range(0, 100_000).Select(_ => BitConverter.Int32BitsToSingle(random.Next() ^ (random.Next(2) << 31)))], value => (Half)value);
    }

    [Fact]
    public void Store_ToBF16InEveryWidth_EqualsTheConversionOfBFloat16() =>
        AssertEveryWidth(Boundaries(fractionBitsLost: 16), value => (BFloat16)value);

    private static void AssertEveryWidth<T>(float[] some, Func<float, T> convert) where T : unmanaged
    {
        float[] values = [.. some, .. new float[Lanes.Padded(some.Length) - some.Length]];
        T[] expected = [.. values.Select(convert)], actual = new T[values.Length];
        fixed (float* source = values)
        fixed (T* destination = actual)
        {
            for (int i = 0; i < values.Length; i++) actual[i] = Narrow.One<T>(values[i]);
            AssertSameBits(values, expected, actual);

            for (int i = 0; i < values.Length && Avx2.IsSupported; i += 16)
                Narrow.Store256(Vector256.Load(source + i), Vector256.Load(source + i + 8), destination + i);
            if (Avx2.IsSupported) AssertSameBits(values, expected, actual);

            actual.AsSpan().Clear();
            for (int i = 0; i < values.Length && Avx512F.IsSupported; i += 16) Narrow.Store512(Vector512.Load(source + i), destination + i);
            if (Avx512F.IsSupported) AssertSameBits(values, expected, actual);
        }
    }

    private static void AssertSameBits<T>(float[] values, T[] expected, T[] actual) where T : unmanaged
    {
        for (int i = 0; i < values.Length; i++)
            if (Unsafe.BitCast<T, ushort>(expected[i]) != Unsafe.BitCast<T, ushort>(actual[i]))
                Assert.Fail($"{BitConverter.SingleToUInt32Bits(values[i]):X8}, {values[i]:G9}: expected {expected[i]}, got {actual[i]}");
    }

    /// <summary>Odd multiples of 2^-25, in the middle between two subnormal F16, and their neighbours.</summary>
    private static IEnumerable<float> SubnormalTies() =>
        from odd in Enumerable.Range(0, 1025)
        from sign in (float[])[1, -1]
        let tie = sign * (2 * odd + 1) * MathF.Pow(2, -25)
        from value in (float[])[tie, MathF.BitIncrement(tie), MathF.BitDecrement(tie)]
        select value;
}
