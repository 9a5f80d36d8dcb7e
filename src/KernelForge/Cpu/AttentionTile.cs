namespace KernelForge.Cpu;

/// <summary>
/// Keys and values of one tile of positions for one key/value head, as addresses of F32 rows of padded length: rows of the source where it holds just
/// that, else widened copies.
/// </summary>
internal readonly unsafe struct AttentionTile<TLanes>(KvSource source, int kvHead, float* memory) where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRow<TLanes>.TileSize;

    /// <summary>Addresses in units of the memory's numbers.</summary>
    private const int AddressLength = TileSize * sizeof(ulong) / sizeof(float);

    private readonly int _paddedDim = Lanes.Padded(source.HeadDim);

    /// <summary>64 addresses; those of positions that were not loaded repeat one that was.</summary>
    public float** Keys => (float**)memory;

    /// <summary>64 addresses, as <see cref="Keys"/>.</summary>
    public float** Values => (float**)(memory + AddressLength);

    /// <summary>Numbers of memory that a tile takes.</summary>
    public static int Length(int paddedDim) => 2 * AddressLength + 2 * TileSize * paddedDim;

    private float* Copies => memory + 2 * AddressLength;

    /// <summary>Makes the positions first .. end - 1 (at least one) of the tile that starts at a position available. Nothing else is read.</summary>
    public void Load(ReadOnlySpan<int> blocks, int start, int first, int end)
    {
        int run;
        for (int position = first; position < end; position += run)
        {
            (int index, int offset) = Math.DivRem(position, source.BlockSize);
            run = Math.Min(source.BlockSize - offset, end - position);
            int j = position - start, block = blocks[index];
            LoadRun(source.Keys, source.Keys.Row(kvHead, block, offset), run, Keys + j, Copies + j * _paddedDim);
            LoadRun(source.Values, source.Values.Row(kvHead, block, offset), run, Values + j, Copies + (TileSize + j) * _paddedDim);
        }

        FillRest(Keys, first - start, end - start);
        FillRest(Values, first - start, end - start);
    }

    private static void FillRest(float** addresses, int first, int end)
    {
        new Span<nint>(addresses, first).Fill((nint)addresses[first]);
        new Span<nint>(addresses + end, TileSize - end).Fill((nint)addresses[first]);
    }

    /// <summary>Addresses of rows that follow each other, or of their widened copies.</summary>
    private void LoadRun(in KvRows from, nint firstRow, int rows, float** addresses, float* copies)
    {
        bool isWhole = source.HeadDim == _paddedDim;
        if (isWhole && from.DType == DType.F32)
        {
            for (int row = 0; row < rows; row++) addresses[row] = (float*)(firstRow + row * from.RowBytes);
            return;
        }

        if (isWhole && from.RowBytes == (nint)source.HeadDim * from.DType.Size())
        {
            Elements.ToF32<TLanes>(firstRow, from.DType, copies, rows * source.HeadDim);
        }
        else
        {
            for (int row = 0; row < rows; row++)
                Elements.ToF32<TLanes>(firstRow + row * from.RowBytes, from.DType, copies + row * _paddedDim, source.HeadDim);
        }

        for (int row = 0; row < rows; row++) addresses[row] = copies + row * _paddedDim;
    }
}
