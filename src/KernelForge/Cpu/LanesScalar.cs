using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>Sixteen lanes one after the other, for processors without the vector instructions; also the plain statement of what the vectors do.</summary>
[InlineArray(Lanes.Count)]
internal unsafe struct LanesScalar : ILanes<LanesScalar>
{
    private float lane;

    public static LanesScalar Fill(float value)
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result[i] = value;
        return result;
    }

    public static LanesScalar Load(float* source) => Unsafe.ReadUnaligned<LanesScalar>(source);

    public static LanesScalar LoadF16(ushort* source)
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result[i] = (float)BitConverter.UInt16BitsToHalf(source[i]);
        return result;
    }

    public static LanesScalar LoadBF16(ushort* source)
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result[i] = BFloat16.FromBits(source[i]);
        return result;
    }

    public static void Store(LanesScalar value, float* destination) => Unsafe.WriteUnaligned(destination, value);

    public static void StoreF16(LanesScalar value, ushort* destination)
    {
        for (int i = 0; i < Lanes.Count; i++) destination[i] = BitConverter.HalfToUInt16Bits((Half)value[i]);
    }

    public static void StoreBF16(LanesScalar value, ushort* destination)
    {
        for (int i = 0; i < Lanes.Count; i++) destination[i] = ((BFloat16)value[i]).ToBits();
    }

    public static LanesScalar operator +(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left[i] += right[i];
        return left;
    }

    public static LanesScalar operator -(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left[i] -= right[i];
        return left;
    }

    public static LanesScalar operator *(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left[i] *= right[i];
        return left;
    }

    public static LanesScalar operator /(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left[i] /= right[i];
        return left;
    }

    public static LanesScalar FusedMultiplyAdd(LanesScalar a, LanesScalar b, LanesScalar c)
    {
        for (int i = 0; i < Lanes.Count; i++) c[i] = MathF.FusedMultiplyAdd(a[i], b[i], c[i]);
        return c;
    }

    public static LanesScalar Max(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < Lanes.Count; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
        return b;
    }

    public static LanesScalar Min(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < Lanes.Count; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
        return b;
    }

    public static LanesScalar Scale(LanesScalar value, LanesScalar exponent)
    {
        for (int i = 0; i < Lanes.Count; i++)
        {
            int whole = (int)exponent[i], half = whole >> 1;
            value[i] = value[i] * PowerOfTwo(half) * PowerOfTwo(whole - half);
        }

        return value;
    }

    public static LanesScalar Split(LanesScalar value, out LanesScalar exponent)
    {
        exponent = default;
        for (int i = 0; i < Lanes.Count; i++)
        {
            uint bits = BitConverter.SingleToUInt32Bits(value[i]);
            exponent[i] = (int)(bits >> 23) - 127;
            value[i] = BitConverter.UInt32BitsToSingle((bits & 0x007FFFFF) | 0x3F800000);
        }

        return value;
    }

    public static LanesScalar First(LanesScalar value, int count, float rest)
    {
        for (int i = Math.Max(count, 0); i < Lanes.Count; i++) value[i] = rest;
        return value;
    }

    public static uint GreaterOrEqual(LanesScalar a, LanesScalar b)
    {
        uint mask = 0;
        for (int i = 0; i < Lanes.Count; i++) mask |= (a[i] >= b[i] ? 1u : 0u) << i;
        return mask;
    }

    public static LanesScalar SelectLess(LanesScalar left, LanesScalar right, LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < Lanes.Count; i++) b[i] = left[i] < right[i] ? a[i] : b[i];
        return b;
    }

    public static float Sum(LanesScalar value)
    {
        for (int step = Lanes.Count / 2; step > 0; step /= 2)
            for (int i = 0; i < step; i++) value[i] += value[i + step];
        return value[0];
    }

    public static float Largest(LanesScalar value)
    {
        for (int step = Lanes.Count / 2; step > 0; step /= 2)
            for (int i = 0; i < step; i++) value[i] = value[i] > value[i + step] ? value[i] : value[i + step];
        return value[0];
    }

    public static LanesScalar HalfSums(LanesScalar v0, LanesScalar v1, LanesScalar v2, LanesScalar v3)
    {
        LanesScalar result = default;
        for (int i = 0; i < 4; i++)
        {
            result[i] = v0[i] + v0[i + 8] + (v0[i + 4] + v0[i + 12]);
            result[4 + i] = v1[i] + v1[i + 8] + (v1[i + 4] + v1[i + 12]);
            result[8 + i] = v2[i] + v2[i + 8] + (v2[i + 4] + v2[i + 12]);
            result[12 + i] = v3[i] + v3[i + 8] + (v3[i + 4] + v3[i + 12]);
        }

        return result;
    }

    public static LanesScalar FinishSums(LanesScalar h0, LanesScalar h1, LanesScalar h2, LanesScalar h3)
    {
        LanesScalar result = default;
        for (int k = 0; k < Lanes.Count; k += 4)
        {
            result[k] = h0[k] + h0[k + 2] + (h0[k + 1] + h0[k + 3]);
            result[k + 1] = h1[k] + h1[k + 2] + (h1[k + 1] + h1[k + 3]);
            result[k + 2] = h2[k] + h2[k + 2] + (h2[k + 1] + h2[k + 3]);
            result[k + 3] = h3[k] + h3[k + 2] + (h3[k + 1] + h3[k + 3]);
        }

        return result;
    }

    private static float PowerOfTwo(int exponent) => BitConverter.Int32BitsToSingle((exponent + 127) << 23);
}
