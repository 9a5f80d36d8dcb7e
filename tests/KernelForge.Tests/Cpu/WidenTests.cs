using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KernelForge.Cpu;

namespace KernelForge.Tests;

public unsafe class WidenTests
{
    private static readonly ushort[] Codes = [.. Enumerable.Range(0, 65_536).Select(code => (ushort)code)];

    [Fact]
    public void One_EveryF16_IsExact()
    {
        foreach (ushort code in Codes)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf(code), actual = Widen.One(BitConverter.UInt16BitsToHalf(code));
            if (float.IsNaN(expected)) Assert.True(float.IsNaN(actual), $"code {code:X4}: expected NaN, got {actual}");
            else Assert.Equal(BitConverter.SingleToUInt32Bits(expected), BitConverter.SingleToUInt32Bits(actual));
        }
    }

    [Fact]
    public void Load_EveryF16InEveryWidth_HasTheBitsOfOne()
    {
        Half[] values = [.. Codes.Select(BitConverter.UInt16BitsToHalf)];
        AssertEveryWidth(values);
    }

    [Fact]
    public void Load_EveryBF16InEveryWidth_HasTheBitsOfOne()
    {
        BFloat16[] values = [.. Codes.Select(BFloat16.FromBits)];
        AssertEveryWidth(values);
    }

    private static void AssertEveryWidth<T>(T[] values) where T : unmanaged
    {
        float[] expected = [.. values.Select(Widen.One)];
        var actual = new float[values.Length];
        fixed (T* source = values)
        fixed (float* destination = actual)
        {
            for (int i = 0; i < values.Length && Avx512F.IsSupported; i += 16) Widen.Load512(source + i).Store(destination + i);
            if (Avx512F.IsSupported) Close.AssertSameBits(expected, actual);

            for (int i = 0; i < values.Length && Avx2.IsSupported; i += 8) Widen.Load256(source + i).Store(destination + i);
            if (Avx2.IsSupported) Close.AssertSameBits(expected, actual);
        }
    }
}
