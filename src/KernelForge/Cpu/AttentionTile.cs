namespace KernelForge.Cpu;

/// <summary>
/// Keys and values of one tile of positions for one key/value head, as addresses of F32 rows of padded length: rows of the cache where it holds just
/// that, else widened copies.
/// </summary>
internal readonly unsafe struct AttentionTile<TLanes>(KvLayer cache, int kvHead, float* memory, int paddedDim) where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRow<TLanes>.TileSize;

    /// <summary>Addresses in units of the memory's numbers.</summary>
    private const int AddressLength = TileSize * sizeof(ulong) / sizeof(float);

    /// <summary>64 addresses; those behind the last loaded position repeat the first.</summary>
    public float** Keys => (float**)memory;

    /// <summary>64 addresses, as <see cref="Keys"/>.</summary>
    public float** Values => (float**)(memory + AddressLength);

    /// <summary>Numbers of memory that a tile takes.</summary>
    public static int Length(int paddedDim) => 2 * AddressLength + 2 * TileSize * paddedDim;

    private float* Copies => memory + 2 * AddressLength;

    /// <summary>Makes the positions start .. min(start + 64, end) - 1 of the sequence with this block table available. Nothing else is read.</summary>
    public void Load(ReadOnlySpan<int> blocks, int start, int end)
    {
        int count = Math.Min(TileSize, end - start), blockSize = cache.Format.BlockSize, run;
        for (int j = 0; j < count; j += run)
        {
            (int index, int offset) = Math.DivRem(start + j, blockSize);
            run = Math.Min(blockSize - offset, count - j);
            LoadRun(cache.KeyRow(blocks[index], kvHead) + offset, run, Keys + j, Copies + j * paddedDim);
            LoadRun(cache.ValueRow(blocks[index], kvHead) + offset, run, Values + j, Copies + (TileSize + j) * paddedDim);
        }

        new Span<nint>(Keys + count, TileSize - count).Fill((nint)Keys[0]);
        new Span<nint>(Values + count, TileSize - count).Fill((nint)Values[0]);
    }

    /// <summary>Addresses of rows of the cache that follow each other, or of their widened copies.</summary>
    private void LoadRun(int firstRow, int rows, float** addresses, float* copies)
    {
        nint source = cache.Data.RowAddress(firstRow);
        DType type = cache.Format.DType;
        int headDim = cache.Format.HeadDim;
        bool isWhole = headDim == paddedDim;
        if (isWhole && type == DType.F32) copies = (float*)source;
        else if (isWhole) Elements.ToF32<TLanes>(source, type, copies, rows * headDim);
        else
        {
            for (int row = 0; row < rows; row++)
                Elements.ToF32<TLanes>(source + (nint)row * headDim * type.Size(), type, copies + row * paddedDim, headDim);
        }

        for (int row = 0; row < rows; row++) addresses[row] = copies + row * paddedDim;
    }
}
