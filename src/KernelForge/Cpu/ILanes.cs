namespace KernelForge.Cpu;

/// <summary>
/// Sixteen F32 numbers that are computed side by side, as one 512-bit vector, as two of 256 bits or one after the other. Every implementation gives the
/// same bits: an operation rounds once, nothing is fused that is not written as <see cref="FusedMultiplyAdd"/>, and a sum over the lanes is the tree
/// lane i + lane i xor 8, then xor 4, 2, 1. An operator is written once over this interface.
/// </summary>
internal unsafe interface ILanes<TSelf> where TSelf : struct, ILanes<TSelf>
{
    /// <summary>Whether there are registers for two dozen values.</summary>
    static abstract bool HasManyRegisters { get; }

    static abstract TSelf Fill(float value);

    /// <summary>The number at <paramref name="source"/> in all lanes.</summary>
    static abstract TSelf Fill(float* source);

    /// <summary>Reads and widens sixteen numbers exactly; <typeparamref name="T"/> is float, Half or BFloat16, any alignment. NaN stays NaN.</summary>
    static abstract TSelf Load<T>(T* source) where T : unmanaged;

    /// <summary>Reads sixteen words and widens the 16 bits in front of each exactly; <typeparamref name="T"/> is Half or BFloat16.</summary>
    static abstract TSelf LoadLower<T>(uint* words) where T : unmanaged;

    /// <summary>Reads sixteen words and widens the last 16 bits of each exactly; <typeparamref name="T"/> is Half or BFloat16.</summary>
    static abstract TSelf LoadUpper<T>(uint* words) where T : unmanaged;

    /// <summary>Reads sixteen bytes as whole numbers.</summary>
    static abstract TSelf LoadBytes(byte* source);

    /// <summary>Each word shifted right.</summary>
    static abstract TSelf ShiftRight(TSelf words, int count);

    /// <summary>Of each word the whole number in <paramref name="bits"/> bits from bit <paramref name="first"/> on, plus 2^(23 - first), less <paramref name="less"/>. They end below bit 23.</summary>
    static abstract TSelf Code(TSelf words, int first, int bits, TSelf less);

    /// <summary>
    /// Reads sixteen bytes from each of sixteen rows, any alignment, and widens them exactly: element i of all rows goes to destination + i · stride.
    /// <typeparamref name="T"/> is float, Half or BFloat16.
    /// </summary>
    static abstract void Transpose<T>(T** rows, nint offset, float* destination, nint stride) where T : unmanaged;

    /// <summary>Of each word the whole number in the lowest 4 bits, less 8.</summary>
    static abstract TSelf LowestCode4(TSelf words);

    /// <summary>Rounds to nearest even and writes sixteen numbers; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    static abstract void Store<T>(TSelf value, T* destination) where T : unmanaged;

    static abstract TSelf operator +(TSelf left, TSelf right);

    static abstract TSelf operator -(TSelf left, TSelf right);

    static abstract TSelf operator *(TSelf left, TSelf right);

    static abstract TSelf operator /(TSelf left, TSelf right);

    /// <summary>a · b + c, rounded once.</summary>
    static abstract TSelf FusedMultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>Adds x times each of four factors to a sum, rounded once: four <see cref="FusedMultiplyAdd"/> in place, which compile to less than four results.</summary>
    static abstract void AddProducts(float x, TSelf a, TSelf b, TSelf c, TSelf d, ref TSelf sumA, ref TSelf sumB, ref TSelf sumC, ref TSelf sumD);

    /// <summary>Adds a factor times each of four elements to a sum, in the same way.</summary>
    static abstract void AddProducts(float* x, TSelf factor, ref TSelf sum0, ref TSelf sum1, ref TSelf sum2, ref TSelf sum3);

    /// <summary>total = scale · value + total in memory, sixteen of each, rounded once.</summary>
    static abstract void AddScaled(TSelf value, float* scales, float* totals);

    /// <summary>a &gt; b ? a : b, hence b where one of them is NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>a &lt; b ? a : b, hence b where one of them is NaN.</summary>
    static abstract TSelf Min(TSelf a, TSelf b);

    /// <summary>value · 2^exponent for whole exponents in -252 .. 254 and 0.5 &lt; |value| &lt; 4, rounded once.</summary>
    static abstract TSelf Scale(TSelf value, TSelf exponent);

    /// <summary>Splits positive normal numbers into a fraction in [1, 2) and a whole exponent.</summary>
    static abstract TSelf Split(TSelf value, out TSelf exponent);

    /// <summary>Lanes 0 .. count - 1 of the value, <paramref name="rest"/> in the others.</summary>
    static abstract TSelf First(TSelf value, int count, float rest);

    /// <summary>Bit i is set where a lane i &gt;= b lane i.</summary>
    static abstract uint GreaterOrEqual(TSelf a, TSelf b);

    /// <summary>a where the lane of the condition pair is a lower left number (left &lt; right), b elsewhere.</summary>
    static abstract TSelf SelectLess(TSelf left, TSelf right, TSelf a, TSelf b);

    /// <summary>Sum of the lanes: the tree of the type's summary.</summary>
    static abstract float Sum(TSelf value);

    /// <summary>The largest lane, by <see cref="Max"/> in the same tree.</summary>
    static abstract float Largest(TSelf value);
}

/// <summary>What holds for every implementation of <see cref="ILanes{TSelf}"/>.</summary>
internal static class Lanes
{
    public const int Count = 16;

    private const uint One = 0x4B00_0000; // 2^23, the F32 in which the lowest bit counts 1

    /// <summary>The F32 in which bit <paramref name="first"/> counts 1 and all others up to bit 22 are 0: 2^(23 - first).</summary>
    public static uint Bias(int first) => One - ((uint)first << 23);

    /// <summary>A one in each of some bits.</summary>
    public static uint Mask(int first, int bits) => ((1u << bits) - 1) << first;

    /// <summary>The smallest multiple of sixteen that is not below <paramref name="length"/>.</summary>
    public static int Padded(int length) => (length + Count - 1) / Count * Count;

    /// <summary>The largest multiple of sixteen that is not above <paramref name="length"/>.</summary>
    public static int Whole(int length) => length & -Count;

    /// <summary>A bit for each of the next sixteen elements of which <paramref name="left"/> are left.</summary>
    public static uint Present(int left) => left >= Count ? 0xFFFFu : (1u << left) - 1;
}
