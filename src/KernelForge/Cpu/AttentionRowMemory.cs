namespace KernelForge.Cpu;

/// <summary>
/// Memory of some rows of attention, quantity by quantity, so that rows are computed side by side: single numbers of all rows, then vectors row after row.
/// Its owner provides it.
/// </summary>
internal readonly unsafe struct AttentionRowMemory(float* memory, int rows, int paddedDim)
{
    /// <summary>Positions of a tile: scores that a row has at a time.</summary>
    public const int TileSize = 64;

    /// <summary>Rows that have scores at a time, which stay in the first-level cache until they are used.</summary>
    public const int BlockRows = Lanes.Count;

    private const int Singles = 7;

    // Single numbers of so many rows start at whole vectors.
    private readonly int _stride = Lanes.Padded(rows);

    public int Rows => rows;

    public int PaddedDim => paddedDim;

    /// <summary>Of the split: the largest score.</summary>
    public float* Maxima => memory;

    /// <summary>What the split's outputs are multiplied with before the values of a tile are added.</summary>
    public float* Decays => memory + _stride;

    /// <summary>Of a tile: the largest score, then what its scores are reduced by.</summary>
    public float* Shifts => memory + 2 * _stride;

    public float* TotalMaxima => memory + 3 * _stride;

    public float* TotalSums => memory + 4 * _stride;

    /// <summary>The first position that a row sees.</summary>
    public int* First => (int*)(memory + 5 * _stride);

    /// <summary>The last position that a row sees.</summary>
    public int* Last => (int*)(memory + 6 * _stride);

    /// <summary>Of the split: the sum of the weights, lane by lane.</summary>
    public float* Sums => memory + Singles * _stride;

    /// <summary>[<see cref="BlockRows"/>, 64]: scores of a tile, then weights.</summary>
    public float* Scores => Sums + (nint)rows * Lanes.Count;

    /// <summary>[rows, padded dim]; zero behind the head's end.</summary>
    public float* Queries => Scores + BlockRows * TileSize;

    /// <summary>[rows, padded dim]: of the split.</summary>
    public float* Outputs => Queries + (nint)rows * paddedDim;

    /// <summary>[rows, padded dim]: of the splits before.</summary>
    public float* Totals => Outputs + (nint)rows * paddedDim;

    /// <summary>The positions of a tile that a row sees, counted from its start; none if End is not above First.</summary>
    public (int First, int End) Seen(int row, int tileStart) => (Math.Max(0, First[row] - tileStart), Math.Min(TileSize, Last[row] - tileStart + 1));

    /// <summary>The positions of a tile that all of some rows see.</summary>
    public (int First, int End) SeenByAll(int row, int count, int tileStart)
    {
        (int first, int end) = Seen(row, tileStart);
        for (int r = row + 1; r < row + count; r++)
        {
            (int rowFirst, int rowEnd) = Seen(r, tileStart);
            (first, end) = (Math.Max(first, rowFirst), Math.Min(end, rowEnd));
        }

        return (first, end);
    }

    /// <summary>The positions of a tile that any of some rows sees.</summary>
    public (int First, int End) SeenByAny(int row, int count, int tileStart)
    {
        (int first, int end) = (TileSize, 0);
        for (int r = row; r < row + count; r++)
        {
            (int rowFirst, int rowEnd) = Seen(r, tileStart);
            if (rowFirst < rowEnd) (first, end) = (Math.Min(first, rowFirst), Math.Max(end, rowEnd));
        }

        return (first, end);
    }

    /// <summary>Numbers of memory of so many rows.</summary>
    public static long Length(int rows, int paddedDim) => (long)Singles * Lanes.Padded(rows) + BlockRows * TileSize + (long)rows * RowLength(paddedDim);

    /// <summary>Numbers of memory that one more row takes, but for single ones.</summary>
    public static int RowLength(int paddedDim) => Lanes.Count + 3 * paddedDim;
}
