namespace KernelForge.Cpu;

/// <summary>
/// Where the keys, or the values, of all heads lie: rows of head_dim elements, in blocks. A row is at address + head · HeadBytes + block · BlockBytes +
/// offset in the block · RowBytes.
/// </summary>
internal readonly record struct KvRows(nint Address, DType DType, nint HeadBytes, nint RowBytes, nint BlockBytes)
{
    /// <summary>The keys of a paged cache.</summary>
    public static KvRows KeysOf(in KvLayer cache) => Of(cache, cache.KeyRow(0, 0));

    /// <summary>The values of a paged cache.</summary>
    public static KvRows ValuesOf(in KvLayer cache) => Of(cache, cache.ValueRow(0, 0));

    /// <summary>A [positions, heads · head_dim] matrix: one block.</summary>
    public static KvRows Of(in DeviceMatrix dense, int headDim) =>
        new(dense.Address, dense.DType, (nint)headDim * dense.DType.Size(), (nint)dense.RowStride * dense.DType.Size(), 0);

    /// <summary>Where a row starts; those behind it in the block follow every <see cref="RowBytes"/>.</summary>
    public nint Row(int head, int block, int offset) => Address + head * HeadBytes + block * BlockBytes + offset * RowBytes;

    private static KvRows Of(in KvLayer cache, int firstRow)
    {
        KvFormat format = cache.Format;
        nint rowBytes = (nint)format.HeadDim * format.DType.Size();
        return new(cache.Data.RowAddress(firstRow), format.DType, format.BlockSize * rowBytes, rowBytes, format.RowsPerBlock * rowBytes);
    }
}

/// <summary>Keys and values of a sequence, in blocks.</summary>
/// <param name="Keys">Where keys lie.</param>
/// <param name="Values">Where values lie.</param>
/// <param name="HeadDim">Elements of a row.</param>
/// <param name="BlockSize">Positions of a block.</param>
internal readonly record struct KvSource(KvRows Keys, KvRows Values, int HeadDim, int BlockSize)
{
    public static KvSource Of(in KvLayer cache) => new(KvRows.KeysOf(cache), KvRows.ValuesOf(cache), cache.Format.HeadDim, cache.Format.BlockSize);

    /// <summary>Dense matrices [positions, heads · head_dim]: all positions are in block 0.</summary>
    public static KvSource Of(in DeviceMatrix keys, in DeviceMatrix values, int headDim) =>
        new(KvRows.Of(keys, headDim), KvRows.Of(values, headDim), headDim, int.MaxValue);
}
