namespace KernelForge;

/// <summary>What attention costs on a kind of device, in any unit of time.</summary>
/// <param name="Read">Reading keys and values of a position, and what is done with them once for all rows.</param>
/// <param name="Row">Score and output of a row at a position.</param>
/// <param name="Rows">Rows are computed in whole multiples of so many.</param>
/// <param name="Record">Writing and reading a record of a row.</param>
/// <param name="Item">An item besides.</param>
internal readonly record struct AttentionRates(int Read, int Row, int Rows, int Record, int Item)
{
    /// <summary>
    /// Tensor cores of current GPUs compute a row tile of 128 rows in the time in which they read; a record is four bytes an element where keys and values are
    /// two each.
    /// </summary>
    public static AttentionRates Gpu { get; } = new(Read: 128, Row: 1, Rows: 16, Record: 256, Item: 64 * 128);

    /// <summary>
    /// A core of a CPU, measured: a position is turned and widened in the time in which two rows are computed, and takes about as long again to come from memory.
    /// </summary>
    public static AttentionRates Cpu { get; } = new(Read: 3, Row: 1, Rows: 1, Record: 20, Item: 64);
}

/// <summary>What parts of a plan cost.</summary>
internal readonly struct AttentionCost(AttentionTiling tiling)
{
    private readonly AttentionRates _rates = tiling.Rates;

    /// <summary>A prefix that its rows read together.</summary>
    public long Shared(int rows, int first, int end)
    {
        int closed = end / tiling.SplitSize * tiling.SplitSize > first ? 1 : 0, open = end % tiling.SplitSize > 0 ? 1 : 0;
        return Positions(rows, tiling.WideRows, first, end) + (long)rows * _rates.Record * (closed + open);
    }

    /// <summary>What a sequence reads by itself.</summary>
    public long Own(int rows, int first, int end)
    {
        if (rows > tiling.NarrowRows) return Positions(rows, tiling.WideRows, first, end);
        int splits = (end - 1) / tiling.SplitSize - first / tiling.SplitSize + 1;
        return Positions(rows, tiling.NarrowRows, first, end) + (splits > 1 ? (long)rows * _rates.Record * splits : 0);
    }

    private long Positions(int rows, int rowsPerItem, int first, int end)
    {
        long items = (rows + rowsPerItem - 1) / rowsPerItem, computed = (rows + _rates.Rows - 1) / _rates.Rows * _rates.Rows;
        return (end - first) * (items * _rates.Read + computed * _rates.Row) + items * _rates.Item;
    }
}
