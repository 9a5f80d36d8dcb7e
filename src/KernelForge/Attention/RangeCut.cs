namespace KernelForge;

/// <summary>
/// How a range of positions becomes items: at multiples of the split it is cut into pieces, a first item walks some of them, each of the others is an item
/// by itself. A range ends where its rows end (it is the last one), or its last split may be left open for ranges behind it.
/// </summary>
internal readonly record struct RangeCut
{
    private readonly int _splitSize, _firstSplit;

    public RangeCut(int first, int end, int splitSize, bool isLast, int mostWalked)
    {
        (First, End, _splitSize, _firstSplit) = (first, end, splitSize, first / splitSize);
        int lastSplit = (end - 1) / splitSize;
        Pieces = lastSplit - _firstSplit + 1;
        Walked = Math.Min(mostWalked, Pieces);
        IsLast = isLast;
        IsOpen = !isLast && end != (lastSplit + 1) * splitSize;
    }

    public int First { get; }

    public int End { get; }

    public int Pieces { get; }

    /// <summary>Pieces of the first item.</summary>
    public int Walked { get; init; }

    public bool IsLast { get; }

    public bool IsOpen { get; }

    public bool IsWhole => Walked == Pieces;

    /// <summary>Splits that the first item ends.</summary>
    private int WalkedToEnd => IsWhole && IsOpen ? Walked - 1 : Walked;

    /// <summary>Whether the first item starts from what was inherited: to write the result, or to make one record of several splits.</summary>
    public bool Folds => IsLast && IsWhole || WalkedToEnd > 1;

    public bool WalkHasRecord => !(IsLast && IsWhole) && WalkedToEnd > 0;

    public int Records => (WalkHasRecord ? 1 : 0) + Pieces - Walked - (IsOpen && !IsWhole ? 1 : 0);

    /// <summary>Slots of a row.</summary>
    public int Slots => Records + (IsOpen ? 1 : 0);

    public int PieceFirst(int piece) => Math.Max(First, (_firstSplit + piece) * _splitSize);

    public int PieceEnd(int piece) => Math.Min(End, (_firstSplit + piece + 1) * _splitSize);
}
