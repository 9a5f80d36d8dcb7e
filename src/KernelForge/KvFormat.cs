namespace KernelForge;

/// <summary>Shape of the keys and values of one layer in a paged cache.</summary>
/// <param name="BlockSize">Token positions in a block.</param>
/// <param name="KvHeads">Key/value heads.</param>
/// <param name="HeadDim">Elements of one head.</param>
/// <param name="DType">Element type.</param>
public readonly record struct KvFormat(int BlockSize, int KvHeads, int HeadDim, DType DType)
{
    /// <summary>Matrix rows of length head_dim that one block takes: keys and values of every head and position.</summary>
    public int RowsPerBlock => checked(2 * KvHeads * BlockSize);

    /// <summary>Bytes of keys and values that one block takes in one layer.</summary>
    public long BytesPerBlock => (long)RowsPerBlock * HeadDim * DType.Size();
}

/// <summary>
/// Keys and values of one layer, in blocks of token positions: <c>[block][K, V][kv_head][block_size][head_dim]</c>. Slot s is position
/// s % block_size of block s / block_size.
/// </summary>
public readonly record struct KvLayer
{
    /// <param name="data">Contiguous [blocks · rows per block, head_dim] of the format's type.</param>
    /// <param name="format">Shape of a block.</param>
    public KvLayer(DeviceMatrix data, KvFormat format)
    {
        Check.That(format.BlockSize > 0 && format.KvHeads > 0 && format.HeadDim > 0, $"KvLayer: {format} has an empty dimension");
        bool isTyped = data.DType == format.DType && format.DType.IsFloat();
        Check.That(isTyped && data.Columns == format.HeadDim && data.IsContiguous && data.Rows % format.RowsPerBlock == 0,
            $"KvLayer: data is {data}, expected contiguous {format.DType}[blocks * {format.RowsPerBlock}, {format.HeadDim}] of a float type");
        Data = data;
        Format = format;
    }

    /// <summary>The memory: [blocks · rows per block, head_dim].</summary>
    public DeviceMatrix Data { get; }

    /// <summary>Shape of a block.</summary>
    public KvFormat Format { get; }

    /// <summary>Blocks.</summary>
    public int Blocks => Data.Rows / Format.RowsPerBlock;

    /// <summary>Row of <see cref="Data"/> with the key of a head at position 0 of a block; its other positions follow.</summary>
    public int KeyRow(int block, int kvHead) => (2 * block * Format.KvHeads + kvHead) * Format.BlockSize;

    /// <summary>Row of <see cref="Data"/> with the value of a head at position 0 of a block; its other positions follow.</summary>
    public int ValueRow(int block, int kvHead) => ((2 * block + 1) * Format.KvHeads + kvHead) * Format.BlockSize;
}
