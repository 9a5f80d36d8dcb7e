namespace KernelForge.Cpu;

/// <summary>A run of columns that goes to others of the same row.</summary>
internal readonly record struct ColumnMove(int Source, int Destination, int Count);

/// <summary>Which columns of one sequence's row realignment of a padded batch moves; as in realign_padded.cu.</summary>
/// <param name="Side">Where the padding is.</param>
/// <param name="Content">Content columns before.</param>
/// <param name="Gained">Tokens gained.</param>
/// <param name="Before">Length of the batch before.</param>
/// <param name="After">Length of the batch after.</param>
internal readonly record struct PaddedColumns(PaddingSide Side, int Content, int Gained, int Before, int After)
{
    private bool IsLeft => Side == PaddingSide.Left;

    /// <summary>The tokens that were there before.</summary>
    public ColumnMove Tokens => IsLeft ? new(Before - Content, After - Content - Gained, Content) : new(0, 0, Content);

    /// <summary>Keys and values: with left padding all of them, with right padding those that the verifying pass wrote; the others stay in their columns.</summary>
    public ColumnMove Verified => IsLeft ? Tokens with { Count = Content + Gained - 1 } : new(Before - 1, Content - 1, Gained);

    /// <summary>Keys and values in front of the verified ones, in their columns already.</summary>
    public int Kept => IsLeft ? 0 : Content - 1;

    /// <summary>Columns of keys and values that become zero; in place only those that were no padding before.</summary>
    public (int Start, int End) Cleared(bool isInPlace) =>
        IsLeft ? (isInPlace ? Math.Min(Verified.Source, Verified.Destination) : 0, Verified.Destination)
        : (Math.Max(Content + Gained - 1, isInPlace ? Before - 1 : 0), After - 1);
}
