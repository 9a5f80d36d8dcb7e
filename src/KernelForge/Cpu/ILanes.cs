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

    /// <summary>a, a, b, b and so on.</summary>
    static abstract TSelf FillPairs(float a, float b);

    /// <summary>Reads and widens sixteen numbers exactly; <typeparamref name="T"/> is float, Half or BFloat16, any alignment. NaN stays NaN.</summary>
    static abstract TSelf Load<T>(T* source) where T : unmanaged;

    /// <summary>Reads sixteen words and gives of each the 4-bit code that starts at bit <paramref name="shift"/>, less 8.</summary>
    static abstract TSelf LoadCodes4(uint* words, int shift);

    /// <summary>Reads sixteen words and gives of each the 8-bit code that starts at bit <paramref name="shift"/>, less 128.</summary>
    static abstract TSelf LoadCodes8(uint* words, int shift);

    /// <summary>Rounds to nearest even and writes sixteen numbers; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    static abstract void Store<T>(TSelf value, T* destination) where T : unmanaged;

    static abstract TSelf operator +(TSelf left, TSelf right);

    static abstract TSelf operator -(TSelf left, TSelf right);

    static abstract TSelf operator *(TSelf left, TSelf right);

    static abstract TSelf operator /(TSelf left, TSelf right);

    /// <summary>a · b + c, rounded once.</summary>
    static abstract TSelf FusedMultiplyAdd(TSelf a, TSelf b, TSelf c);

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

    /// <summary>
    /// The first two levels of four sums at once: numbers 4k .. 4k + 3 of the result are what is left of the k-th argument.
    /// </summary>
    static abstract TSelf HalfSums(TSelf v0, TSelf v1, TSelf v2, TSelf v3);

    /// <summary>The last two levels of sixteen sums at once: lane 4k + i is the sum that the k-th quarter of the i-th argument began.</summary>
    static abstract TSelf FinishSums(TSelf h0, TSelf h1, TSelf h2, TSelf h3);
}

/// <summary>What holds for every implementation of <see cref="ILanes{TSelf}"/>.</summary>
internal static class Lanes
{
    public const int Count = 16;

    /// <summary>The smallest multiple of sixteen that is not below <paramref name="length"/>.</summary>
    public static int Padded(int length) => (length + Count - 1) / Count * Count;

    /// <summary>A bit for each of the next sixteen elements of which <paramref name="left"/> are left.</summary>
    public static uint Present(int left) => left >= Count ? 0xFFFFu : (1u << left) - 1;
}
