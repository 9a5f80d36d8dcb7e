using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// How packed weights of one width are read sixteen at a time. A line is 64 bytes: sixteen words of four lanes of the packed order (word 4 c + j is word j of
/// lane c), all weights of two outputs, eight apart, for the next <see cref="LineK"/> of k. A step takes sixteen of each output.
/// </summary>
internal unsafe interface IPackedCodes
{
    /// <summary>k of a line.</summary>
    static abstract int LineK { get; }

    /// <summary>Steps of a line.</summary>
    static abstract int Steps { get; }

    /// <summary>The code that means 0 where there are no zero points.</summary>
    static abstract int Middle { get; }

    /// <summary>Whether groups have zero points.</summary>
    static abstract bool HasZeros { get; }

    /// <summary>Codes of a step of a line, less <see cref="Middle"/>.</summary>
    /// <param name="line">The line.</param>
    /// <param name="step">The step.</param>
    /// <param name="side">0 for the first of the two outputs, 1 for the second.</param>
    static abstract TLanes Load<TLanes>(uint* line, int step, int side) where TLanes : struct, ILanes<TLanes>;

    /// <summary>The k of a step's first lane, counted from the line's; that of lane 4 c + j is 2 c + j · LineK / 4 on.</summary>
    static abstract int Offset(int step);
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

/// <summary>4 bits: a word is a k step of 16 of the packed order.</summary>
internal readonly unsafe struct Codes4<TZeros> : IPackedCodes where TZeros : struct, IZeros
{
    public static int LineK => 64;

    public static int Steps => 4;

    public static int Middle => 8;

    public static bool HasZeros => TZeros.Exist;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(uint* line, int step, int side) where TLanes : struct, ILanes<TLanes> => TLanes.LoadCodes4(line, 8 * step + 4 * side);

    public static int Offset(int step) => step / 2 + step % 2 * 8;
}

/// <summary>8 bits: a word is half a k step of 16 of the packed order.</summary>
internal readonly unsafe struct Codes8<TZeros> : IPackedCodes where TZeros : struct, IZeros
{
    public static int LineK => 32;

    public static int Steps => 2;

    public static int Middle => 128;

    public static bool HasZeros => TZeros.Exist;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(uint* line, int step, int side) where TLanes : struct, ILanes<TLanes> => TLanes.LoadCodes8(line, 8 * step + 16 * side);

    public static int Offset(int step) => step;
}
