namespace KernelForge.Inference;

/// <summary>Intermediate results that every layer of a step uses in turn, one row per query token.</summary>
internal readonly record struct LayerScratch(
    DeviceMatrix Residual, DeviceMatrix X, DeviceMatrix Queries, DeviceMatrix Keys, DeviceMatrix Values, DeviceMatrix Attended,
    DeviceMatrix Gate, DeviceMatrix Up)
{
    public static LayerScratch Take(Arena arena, ModelConfig config, DType type, int tokens)
    {
        DeviceMatrix Matrix(int columns) => arena.Matrix(type, tokens, columns);
        (int hidden, int queries, int kv, int mlp) = Columns(config);
        return new(Matrix(hidden), Matrix(hidden), Matrix(queries), Matrix(kv), Matrix(kv), Matrix(queries), Matrix(mlp), Matrix(mlp));
    }

    /// <summary>Bytes that <see cref="Take"/> takes.</summary>
    public static long Bytes(ModelConfig config, DType type, int tokens)
    {
        long Size(int columns) => 2 * Arena.Rounded((long)tokens * columns * type.Size()); // every width is there twice
        (int hidden, int queries, int kv, int mlp) = Columns(config);
        return Size(hidden) + Size(queries) + Size(kv) + Size(mlp);
    }

    private static (int Hidden, int Queries, int Kv, int Mlp) Columns(ModelConfig config) =>
        (config.HiddenSize, config.QueryHeads * config.HeadDim, config.KvHeads * config.HeadDim, config.MlpSize);
}
