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

    /// <summary>Makes the positions start .. min(start + 64, end) - 1 of the sequence with this block table available. Nothing else is read.</summary>
    public void Load(ReadOnlySpan<int> blocks, int start, int end)
    {
        int count = Math.Min(TileSize, end - start);
        for (int j = 0; j < count; j++)
        {
            (int index, int offset) = Math.DivRem(start + j, cache.Format.BlockSize);
            Keys[j] = Row(cache.KeyRow(blocks[index], kvHead) + offset, 2 * j);
            Values[j] = Row(cache.ValueRow(blocks[index], kvHead) + offset, 2 * j + 1);
        }

        new Span<nint>(Keys + count, TileSize - count).Fill((nint)Keys[0]);
        new Span<nint>(Values + count, TileSize - count).Fill((nint)Values[0]);
    }

    /// <summary>Address of a row of the cache, or of its copy number <paramref name="copy"/>.</summary>
    private float* Row(int row, int copy)
    {
        nint source = cache.Data.RowAddress(row);
        DType type = cache.Format.DType;
        int headDim = cache.Format.HeadDim;
        if (type == DType.F32 && headDim == paddedDim) return (float*)source;

        float* widened = memory + 2 * AddressLength + copy * paddedDim;
        for (int i = 0; i < headDim; i += Lanes.Count) TLanes.Store(Elements.Load<TLanes>(source, type, i, headDim), widened + i);
        return widened;
    }
}
