namespace KernelForge.Inference;

/// <summary>The device memory behind the blocks, for one model: keys and values of every layer.</summary>
public sealed class KvCache : IDisposable
{
    private readonly DeviceBuffer?[] _buffers; // null until allocated
    private readonly KvLayer[] _layers;

    /// <summary>Allocates <paramref name="blocks"/> blocks in every layer.</summary>
    public KvCache(Device device, int layers, KvFormat format, int blocks)
    {
        ArgumentNullException.ThrowIfNull(device);
        (Format, Blocks) = (format, blocks);
        _buffers = new DeviceBuffer[layers];
        _layers = new KvLayer[layers];
        int rows = checked(blocks * format.RowsPerBlock);
        try
        {
            for (int i = 0; i < layers; i++)
            {
                _buffers[i] = device.Allocate(format.DType, (long)rows * format.HeadDim);
                _layers[i] = new KvLayer(_buffers[i]!.AsMatrix(rows, format.HeadDim), format);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Shape of a block.</summary>
    public KvFormat Format { get; }

    /// <summary>Blocks.</summary>
    public int Blocks { get; }

    /// <summary>A cache for a model under options.</summary>
    internal static KvCache Of(Transformer model, EngineOptions options, int blocks) =>
        new(model.Device, model.Config.Layers, FormatOf(model.Config, options), blocks);

    /// <summary>Shape of a block under options; types that are null count as F32.</summary>
    internal static KvFormat FormatOf(ModelConfig config, EngineOptions options) =>
        new(options.BlockSize, config.KvHeads, config.HeadDim, options.KvType ?? options.ComputeType ?? DType.F32);

    /// <summary>Bytes that one block takes in all layers under options.</summary>
    internal static long BytesPerBlock(ModelConfig config, EngineOptions options) => config.Layers * FormatOf(config, options).BytesPerBlock;

    /// <summary>Bytes that one block takes in all layers.</summary>
    public static long BytesPerBlock(ModelConfig config, int blockSize, DType dtype)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.Layers * new KvFormat(blockSize, config.KvHeads, config.HeadDim, dtype).BytesPerBlock;
    }

    /// <summary>Bytes that one token position takes in all layers.</summary>
    public long BytesPerPosition => _layers.Length * Format.BytesPerBlock / Format.BlockSize;

    /// <summary>Keys and values of all layers.</summary>
    public ReadOnlySpan<KvLayer> Layers => _layers;

    /// <summary>Keys and values of one layer.</summary>
    public KvLayer Layer(int layer) => _layers[layer];

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DeviceBuffer? buffer in _buffers) buffer?.Dispose();
    }
}
