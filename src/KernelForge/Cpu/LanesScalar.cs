namespace KernelForge.Cpu;

/// <summary>Sixteen lanes one after the other, for processors without the vector instructions; also the plain statement of what the vectors do.</summary>
internal unsafe struct LanesScalar : ILanes<LanesScalar>
{
    private fixed float _lane[Lanes.Count];

    public static bool HasManyRegisters => false;

    public static LanesScalar Fill(float value)
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._lane[i] = value;
        return result;
    }

    public static LanesScalar Fill(float* source) => Fill(*source);

    public static LanesScalar LoadBytes(byte* source)
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._lane[i] = source[i];
        return result;
    }

    public static LanesScalar LoadLower<T>(uint* words) where T : unmanaged
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._lane[i] = Widen.One(*(T*)(words + i));
        return result;
    }

    public static LanesScalar LoadUpper<T>(uint* words) where T : unmanaged
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._lane[i] = Widen.One(((T*)(words + i))[1]);
        return result;
    }

    public static LanesScalar LowestCode4(LanesScalar words) => Code(words, 0, 4, Fill(8_388_608f + 8));

    public static LanesScalar ShiftRight(LanesScalar words, int count)
    {
        for (int i = 0; i < Lanes.Count; i++) words._lane[i] = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(words._lane[i]) >> count);
        return words;
    }

    public static LanesScalar Code(LanesScalar words, int first, int bits, LanesScalar less)
    {
        for (int i = 0; i < Lanes.Count; i++)
        {
            uint biased = (BitConverter.SingleToUInt32Bits(words._lane[i]) & Lanes.Mask(first, bits)) | Lanes.Bias(first);
            words._lane[i] = BitConverter.UInt32BitsToSingle(biased) - less._lane[i];
        }
        return words;
    }

    public static LanesScalar Load<T>(T* source) where T : unmanaged
    {
        LanesScalar result = default;
        for (int i = 0; i < Lanes.Count; i++) result._lane[i] = Widen.One(source[i]);
        return result;
    }

    public static void Transpose<T>(T** rows, nint offset, float* destination, nint stride) where T : unmanaged
    {
        for (int i = 0; i < 16 / sizeof(T); i++)
            for (int row = 0; row < Lanes.Count; row++) destination[i * stride + row] = Widen.One(rows[row][offset + i]);
    }

    public static void Store<T>(LanesScalar value, T* destination) where T : unmanaged
    {
        for (int i = 0; i < Lanes.Count; i++) destination[i] = Narrow.One<T>(value._lane[i]);
    }

    public static LanesScalar operator +(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left._lane[i] += right._lane[i];
        return left;
    }

    public static LanesScalar operator -(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left._lane[i] -= right._lane[i];
        return left;
    }

    public static LanesScalar operator *(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left._lane[i] *= right._lane[i];
        return left;
    }

    public static LanesScalar operator /(LanesScalar left, LanesScalar right)
    {
        for (int i = 0; i < Lanes.Count; i++) left._lane[i] /= right._lane[i];
        return left;
    }

    public static LanesScalar FusedMultiplyAdd(LanesScalar a, LanesScalar b, LanesScalar c)
    {
        for (int i = 0; i < Lanes.Count; i++) c._lane[i] = MathF.FusedMultiplyAdd(a._lane[i], b._lane[i], c._lane[i]);
        return c;
    }

    public static void AddProducts(
        float x, LanesScalar a, LanesScalar b, LanesScalar c, LanesScalar d, ref LanesScalar sumA, ref LanesScalar sumB, ref LanesScalar sumC, ref LanesScalar sumD)
    {
        LanesScalar all = Fill(x);
        sumA = FusedMultiplyAdd(all, a, sumA);
        sumB = FusedMultiplyAdd(all, b, sumB);
        sumC = FusedMultiplyAdd(all, c, sumC);
        sumD = FusedMultiplyAdd(all, d, sumD);
    }

    public static void AddProducts(float* x, LanesScalar factor, ref LanesScalar sum0, ref LanesScalar sum1, ref LanesScalar sum2, ref LanesScalar sum3)
    {
        sum0 = FusedMultiplyAdd(Fill(x[0]), factor, sum0);
        sum1 = FusedMultiplyAdd(Fill(x[1]), factor, sum1);
        sum2 = FusedMultiplyAdd(Fill(x[2]), factor, sum2);
        sum3 = FusedMultiplyAdd(Fill(x[3]), factor, sum3);
    }

    public static void AddScaled(LanesScalar value, float* scales, float* totals) => Store(FusedMultiplyAdd(Load(scales), value, Load(totals)), totals);

    public static LanesScalar Max(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < Lanes.Count; i++) b._lane[i] = a._lane[i] > b._lane[i] ? a._lane[i] : b._lane[i];
        return b;
    }

    public static LanesScalar Min(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < Lanes.Count; i++) b._lane[i] = a._lane[i] < b._lane[i] ? a._lane[i] : b._lane[i];
        return b;
    }

    public static LanesScalar Scale(LanesScalar value, LanesScalar exponent)
    {
        for (int i = 0; i < Lanes.Count; i++)
        {
            int whole = (int)exponent._lane[i], half = whole >> 1;
            value._lane[i] = value._lane[i] * PowerOfTwo(half) * PowerOfTwo(whole - half);
        }

        return value;
    }

    public static LanesScalar Split(LanesScalar value, out LanesScalar exponent)
    {
        exponent = default;
        for (int i = 0; i < Lanes.Count; i++)
        {
            uint bits = BitConverter.SingleToUInt32Bits(value._lane[i]);
            exponent._lane[i] = (int)(bits >> 23) - 127;
            value._lane[i] = BitConverter.UInt32BitsToSingle((bits & 0x007FFFFF) | 0x3F800000);
        }

        return value;
    }

    public static LanesScalar First(LanesScalar value, int count, float rest)
    {
        for (int i = Math.Max(count, 0); i < Lanes.Count; i++) value._lane[i] = rest;
        return value;
    }

    public static uint GreaterOrEqual(LanesScalar a, LanesScalar b)
    {
        uint mask = 0;
        for (int i = 0; i < Lanes.Count; i++) mask |= (a._lane[i] >= b._lane[i] ? 1u : 0u) << i;
        return mask;
    }

    public static LanesScalar SelectLess(LanesScalar left, LanesScalar right, LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < Lanes.Count; i++) b._lane[i] = left._lane[i] < right._lane[i] ? a._lane[i] : b._lane[i];
        return b;
    }

    public static float Sum(LanesScalar value)
    {
        for (int step = Lanes.Count / 2; step > 0; step /= 2)
            for (int i = 0; i < step; i++) value._lane[i] += value._lane[i + step];
        return value._lane[0];
    }

    public static float Largest(LanesScalar value)
    {
        for (int step = Lanes.Count / 2; step > 0; step /= 2)
            for (int i = 0; i < step; i++) value._lane[i] = value._lane[i] > value._lane[i + step] ? value._lane[i] : value._lane[i + step];
        return value._lane[0];
    }

    private static float PowerOfTwo(int exponent) => BitConverter.Int32BitsToSingle((exponent + 127) << 23);
}
