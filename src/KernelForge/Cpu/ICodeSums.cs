namespace KernelForge.Cpu;

/// <summary>
/// Sixteen sums of products of codes with whole numbers, one for each output of a panel, as one 512-bit vector, as two of 256 bits or one after the other. All is exact, so
/// every implementation gives the same numbers.
/// </summary>
/// <remarks>
/// A line of codes (<see cref="PanelLayout"/>) is multiplied in two parts, each with one word of x. 4 bits: the low and the high halves of its bytes, and a word of x has four
/// numbers of 8 bits; 8 bits: even and odd bytes, and two numbers of 16 bits. Products of 4-bit codes are summed in 16 bits, which holds those of
/// <see cref="RunLength"/> k, and are then widened.
/// </remarks>
internal unsafe interface ICodeSums<TSelf> where TSelf : struct, ICodeSums<TSelf>
{
    /// <summary>k whose products are summed before <see cref="Widen{TCodes}"/>: eight times 2 · 15 · 127 is less than 2^15.</summary>
    const int RunLength = 32;

    static abstract TSelf Fill(int value);

    /// <summary>Widens sixteen bytes.</summary>
    static abstract TSelf LoadBytes(byte* source);

    /// <summary>Reads a line.</summary>
    static abstract TSelf LoadLine(uint* line);

    /// <summary>The codes of a line that are multiplied first.</summary>
    static abstract TSelf First<TCodes>(TSelf line) where TCodes : struct, IPackedCodes;

    /// <summary>The codes that are multiplied second.</summary>
    static abstract TSelf Second<TCodes>(TSelf line) where TCodes : struct, IPackedCodes;

    /// <summary>Adds the products of a part of a line with a word of x.</summary>
    static abstract TSelf AddProducts<TCodes>(TSelf sums, TSelf codes, uint x) where TCodes : struct, IPackedCodes;

    /// <summary>Sums of a run in 32 bits.</summary>
    static abstract TSelf Widen<TCodes>(TSelf sums) where TCodes : struct, IPackedCodes;

    static abstract TSelf operator +(TSelf left, TSelf right);

    static abstract TSelf operator *(TSelf left, TSelf right);

    /// <summary>totals = fma((float)sums · scale, scales, totals).</summary>
    static abstract void AddTo(float* totals, TSelf sums, float scale, float* scales);
}
