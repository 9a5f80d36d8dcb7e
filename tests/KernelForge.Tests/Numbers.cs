using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>Reproducible inputs, and how the float types hold them.</summary>
public static class Numbers
{
    public static DType[] FloatTypes => [DType.F32, DType.F16, DType.BF16];

    /// <summary>Uniform in -range .. range.</summary>
    public static float[] Uniform(int seed, int count, float range = 1)
    {
        var random = new Random(seed);
        var values = new float[count];
        for (int i = 0; i < count; i++) values[i] = (random.NextSingle() * 2 - 1) * range;
        return values;
    }

    /// <summary>The bytes of the values, rounded to the type.</summary>
    public static byte[] ToBytes(ReadOnlySpan<float> values, DType type)
    {
        if (type == DType.F32) return MemoryMarshal.AsBytes(values).ToArray();
        var bits = new ushort[values.Length];
        for (int i = 0; i < bits.Length; i++)
            bits[i] = type == DType.F16 ? BitConverter.HalfToUInt16Bits((Half)values[i]) : ((BFloat16)values[i]).ToBits();
        return MemoryMarshal.AsBytes(bits.AsSpan()).ToArray();
    }

    /// <summary>The values that bytes of a type hold, widened exactly.</summary>
    public static float[] FromBytes(ReadOnlySpan<byte> bytes, DType type)
    {
        if (type == DType.F32) return MemoryMarshal.Cast<byte, float>(bytes).ToArray();
        ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<byte, ushort>(bytes);
        var values = new float[bits.Length];
        for (int i = 0; i < values.Length; i++)
            values[i] = type == DType.F16 ? (float)BitConverter.UInt16BitsToHalf(bits[i]) : BFloat16.FromBits(bits[i]);
        return values;
    }
}
