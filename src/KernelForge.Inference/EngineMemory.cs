namespace KernelForge.Inference;

/// <summary>Memory that an engine needs for a model, and for its draft model where it has one, in bytes.</summary>
/// <param name="Weights">The model's tensors; on the CPU packed weights, in memory or a mapped file, and as far as their type is right the mapped checkpoint.</param>
/// <param name="KvCache">Keys and values of all blocks, those for branches of token trees included.</param>
/// <param name="Intermediate">Results of one step, the rotary table among them.</param>
/// <param name="BytesPerBlock">One KV block in all layers, of the draft model too.</param>
public readonly record struct EngineMemory(long Weights, long KvCache, long Intermediate, long BytesPerBlock)
{
    /// <summary>All of it.</summary>
    public long Total => Weights + KvCache + Intermediate;

    /// <summary>
    /// What a model with that many bytes of weights, without a draft model, needs on a device under these options; types that are null count as F32.
    /// </summary>
    public static EngineMemory Of(Device device, ModelConfig config, long weights, EngineOptions options)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(options);
        long bytesPerBlock = Inference.KvCache.BytesPerBlock(config, options);
        return OfTarget(device, config, weights, options, BlocksOf(config, options, bytesPerBlock));
    }

    /// <summary>What a model, without a draft model, needs on a device under options that name the types, as <see cref="EngineOptions.For(Device, ModelConfig, Checkpoint)"/> does.</summary>
    public static EngineMemory Of(Device device, ModelConfig config, Checkpoint checkpoint, EngineOptions options)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(options);
        return Of(device, config, WeightBytes.Of(device, config, checkpoint, options), options);
    }

    /// <summary>What a model and perhaps a draft model need under options that name the types. A block holds the same positions of both.</summary>
    internal static EngineMemory Of(Device device, ModelFolder target, ModelFolder? draft, EngineOptions options)
    {
        if (draft is null) return Of(device, target.Config, target.WeightBytes(device, options), options);

        long bytesPerBlock = Inference.KvCache.BytesPerBlock(target.Config, options) + Inference.KvCache.BytesPerBlock(draft.Config, options);
        int blocks = BlocksOf(target.Config, options, bytesPerBlock);
        EngineMemory own = OfTarget(device, target.Config, target.WeightBytes(device, options), options, blocks);
        EngineMemory drafts = OfDraft(device, draft.Config, draft.WeightBytes(device, options), options, blocks);
        return new EngineMemory(own.Weights + drafts.Weights, own.KvCache + drafts.KvCache, own.Intermediate + drafts.Intermediate, bytesPerBlock);
    }

    /// <summary>Throws when <see cref="Device.AvailableBytes"/> is smaller.</summary>
    /// <exception cref="InsufficientMemoryException">Says what is needed for what, and what there is on which device.</exception>
    public void RequireFits(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        long available = device.AvailableBytes;
        if (Total <= available) return;
        throw Insufficient($"there are {Text(available)} on {device.Name}");
    }

    /// <summary>What to throw when the device does not give that much.</summary>
    internal InsufficientMemoryException Refused(Device device, OutOfMemoryException error) => Insufficient($"{device.Name} does not give that much", error);

    private static EngineMemory OfTarget(Device device, ModelConfig config, long weights, EngineOptions options, int blocks)
    {
        int branchBlocks = options.BranchBlocks(blocks);
        (int context, int tokens, int rows) = (ContextOf(config, options), options.TokenBudget, options.MaxSequences);
        (DType type, KvFormat format) = (options.ComputeType ?? DType.F32, Inference.KvCache.FormatOf(config, options));
        long intermediate = options.Speculation is { } speculation
            ? SpeculativeRunner.ArenaBytes(device, config, type, context, format, speculation, tokens, rows, branchBlocks)
            : ModelRunner.ArenaBytes(device, config, type, context, format, tokens, rows);
        return OfModel(config, weights, options, blocks + branchBlocks, intermediate);
    }

    private static EngineMemory OfDraft(Device device, ModelConfig config, long weights, EngineOptions options, int blocks)
    {
        int branchBlocks = options.BranchBlocks(blocks);
        long intermediate = Drafters.Bytes(device, config, ContextOf(config, options), Inference.KvCache.FormatOf(config, options), options, branchBlocks);
        return OfModel(config, weights, options, blocks + branchBlocks, intermediate);
    }

    private static EngineMemory OfModel(ModelConfig config, long weights, EngineOptions options, int blocks, long intermediate)
    {
        long bytesPerBlock = Inference.KvCache.BytesPerBlock(config, options), angles = (long)ContextOf(config, options) * config.HeadDim * sizeof(float);
        return new EngineMemory(weights, blocks * bytesPerBlock, intermediate + angles, bytesPerBlock);
    }

    private static int ContextOf(ModelConfig config, EngineOptions options) => Math.Min(options.ContextLength ?? config.MaxContext, config.MaxContext);

    private static int BlocksOf(ModelConfig config, EngineOptions options, long bytesPerBlock) =>
        options.ForModel(config.MaxContext, config.EndTokenIds, bytesPerBlock, maxTokensPerStep: 1).BlockCount;

    private InsufficientMemoryException Insufficient(string why, Exception? inner = null) => new(
        $"Too little memory: weights {Text(Weights)}, KV cache {Text(KvCache)} and intermediate results {Text(Intermediate)} need {Text(Total)}, {why}; " +
        "a smaller KV cache, token budget, context length or number of sequences needs less.", inner);

    private static string Text(long bytes) => bytes < 1 << 30 ? $"{bytes / 1048576.0:F1} MiB" : $"{bytes / 1073741824.0:F1} GiB";
}
