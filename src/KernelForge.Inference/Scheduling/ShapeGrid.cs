namespace KernelForge.Inference;

/// <summary>A shape of two sizes: rows, and tokens of each.</summary>
public readonly record struct GridShape(int Rows, int Tokens)
{
    /// <summary>Tokens that are computed.</summary>
    public long Area => (long)Rows * Tokens;
}

/// <summary>Every size of one ladder with every size of another: buckets for rows of tokens, such as prompts of a batch (LAPS). Immutable.</summary>
/// <param name="rows">Numbers of rows.</param>
/// <param name="tokens">Tokens of a row.</param>
public sealed class ShapeGrid(ShapeBuckets rows, ShapeBuckets tokens)
{
    /// <summary>Numbers of rows.</summary>
    public ShapeBuckets Rows { get; } = rows;

    /// <summary>Tokens of a row.</summary>
    public ShapeBuckets Tokens { get; } = tokens;

    /// <summary>Shapes there are: as many graphs would be captured.</summary>
    public int Count => Rows.Sizes.Length * Tokens.Sizes.Length;

    /// <summary>
    /// Ladders with little padding for shapes that occur so often. Each ladder is the best one beside the other; together they need not be the best pair.
    /// </summary>
    /// <param name="histogram">Shapes, each size 1 or more, and how often each is seen, 0 or more.</param>
    /// <param name="rowSizes">Most numbers of rows, 1 or more.</param>
    /// <param name="tokenSizes">Most numbers of tokens, 1 or more.</param>
    /// <exception cref="ArgumentException">An argument is out of range.</exception>
    public static ShapeGrid Of(IReadOnlyCollection<(GridShape Shape, long Weight)> histogram, int rowSizes, int tokenSizes)
    {
        var grid = new ShapeGrid(
            ShapeBuckets.Best(histogram.Select(seen => (seen.Shape.Rows, seen.Weight * seen.Shape.Tokens)), rowSizes),
            ShapeBuckets.Best(histogram.Select(seen => (seen.Shape.Tokens, seen.Weight * seen.Shape.Rows)), tokenSizes));
        while (grid.Improve(histogram, rowSizes, tokenSizes) is { } better) grid = better;
        return grid;
    }

    /// <summary>The smallest shape of the grid that holds this one; null where none does, so that it is executed as it is.</summary>
    public GridShape? Nearest(GridShape shape) =>
        Rows.Nearest(shape.Rows) is { } rows && Tokens.Nearest(shape.Tokens) is { } tokens ? new GridShape(rows, tokens) : null;

    /// <summary>Tokens of padding for shapes that occur so often; those that no shape of the grid holds have none.</summary>
    public long PaddingOf(IEnumerable<(GridShape Shape, long Weight)> histogram) =>
        histogram.Sum(seen => Nearest(seen.Shape) is { } shape ? (shape.Area - seen.Shape.Area) * seen.Weight : 0);

    /// <summary>Both ladders chosen again, each beside the other as it is; null when that saves nothing.</summary>
    private ShapeGrid? Improve(IReadOnlyCollection<(GridShape Shape, long Weight)> histogram, int rowSizes, int tokenSizes)
    {
        // A row more costs as many tokens as the row is padded to, a token more as many rows.
        ShapeBuckets rows = ShapeBuckets.Best(histogram.Select(seen => (seen.Shape.Rows, seen.Weight * Tokens.Nearest(seen.Shape.Tokens)!.Value)), rowSizes);
        ShapeBuckets tokens = ShapeBuckets.Best(histogram.Select(seen => (seen.Shape.Tokens, seen.Weight * rows.Nearest(seen.Shape.Rows)!.Value)), tokenSizes);
        var other = new ShapeGrid(rows, tokens);
        return other.PaddingOf(histogram) < PaddingOf(histogram) ? other : null;
    }
}
