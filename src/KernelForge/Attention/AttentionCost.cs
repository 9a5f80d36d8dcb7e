namespace KernelForge;

/// <summary>
/// What parts of a plan cost, in 1/128 of reading keys and values of one position. A row tile of 128 rows is taken to compute as long as it reads, as tensor
/// cores of current GPUs do; a record is four bytes an element where keys and values are two each, written once and read once.
/// </summary>
internal readonly struct AttentionCost(AttentionTiling tiling)
{
    private const int Read = 128, Record = 2 * Read, Item = 64 * Read, RowsOfWarp = 16;

    /// <summary>A prefix that its rows read together.</summary>
    public long Shared(int rows, int first, int end)
    {
        int closed = end / tiling.SplitSize * tiling.SplitSize > first ? 1 : 0, open = end % tiling.SplitSize > 0 ? 1 : 0;
        return Positions(rows, tiling.WideRows, first, end) + (long)rows * Record * (closed + open);
    }

    /// <summary>What a sequence reads by itself.</summary>
    public long Own(int rows, int first, int end)
    {
        if (rows > tiling.NarrowRows) return Positions(rows, tiling.WideRows, first, end);
        int splits = (end - 1) / tiling.SplitSize - first / tiling.SplitSize + 1;
        return Positions(rows, tiling.NarrowRows, first, end) + (splits > 1 ? (long)rows * Record * splits : 0);
    }

    private static long Positions(int rows, int rowsPerItem, int first, int end)
    {
        long items = (rows + rowsPerItem - 1) / rowsPerItem, computed = (rows + RowsOfWarp - 1) / RowsOfWarp * RowsOfWarp;
        return (end - first) * (items * Read + computed) + items * Item;
    }
}
