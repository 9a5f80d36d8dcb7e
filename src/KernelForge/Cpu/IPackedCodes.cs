namespace KernelForge.Cpu;

/// <summary>
/// Codes in the words of packed weights (<see cref="PanelLayout"/>). Neighbours along k are a byte apart, so that one shift of 16 is enough for four; with 4 bits a shift of
/// 4 brings the next four.
/// </summary>
internal interface IPackedCodes
{
    /// <summary>Bits of a code; 32 for <see cref="WideCodes"/>.</summary>
    static abstract int Bits { get; }

    /// <summary>Pairs of neighbours along k in a word.</summary>
    static abstract int Pairs { get; }

    /// <summary>The code that means 0 where there are no zero points.</summary>
    static abstract int Middle { get; }

    /// <summary>Whether groups have zero points.</summary>
    static abstract bool HasZeros { get; }
}

/// <summary>Whether there are zero points, for <see cref="Codes4{TZeros}"/> and <see cref="Codes8{TZeros}"/>.</summary>
internal interface IZeros
{
    /// <summary>Whether there are.</summary>
    static abstract bool Exist { get; }
}

/// <summary>No zero points.</summary>
internal readonly struct NoZeros : IZeros
{
    public static bool Exist => false;
}

/// <summary>A zero point for every group.</summary>
internal readonly struct GroupZeros : IZeros
{
    public static bool Exist => true;
}

/// <summary>4 bits: the low halves of a word's bytes, then the high ones.</summary>
internal readonly struct Codes4<TZeros> : IPackedCodes where TZeros : struct, IZeros
{
    public static int Bits => 4;

    public static int Pairs => 4;

    public static int Middle => 8;

    public static bool HasZeros => TZeros.Exist;
}

/// <summary>8 bits.</summary>
internal readonly struct Codes8<TZeros> : IPackedCodes where TZeros : struct, IZeros
{
    public static int Bits => 8;

    public static int Pairs => 2;

    public static int Middle => 128;

    public static bool HasZeros => TZeros.Exist;
}

/// <summary>F32, code less zero: what <see cref="PackedTile{TLanes, TCodes}.Widen"/> makes of codes. A line of each k, in their order; four lines count as one of words.</summary>
internal readonly struct WideCodes : IPackedCodes
{
    public static int Bits => 32;

    public static int Pairs => 2;

    public static int Middle => 0;

    public static bool HasZeros => false;
}
