namespace KernelForge.Inference;

/// <summary>Memory that an engine needs for a model, in bytes.</summary>
/// <param name="Weights">The model's tensors; on the CPU, as far as their type is right, the mapped files.</param>
/// <param name="KvCache">Keys and values of all blocks.</param>
/// <param name="Intermediate">Results of one step, the rotary table among them.</param>
/// <param name="BytesPerBlock">One KV block in all layers.</param>
public readonly record struct EngineMemory(long Weights, long KvCache, long Intermediate, long BytesPerBlock)
{
    /// <summary>All of it.</summary>
    public long Total => Weights + KvCache + Intermediate;

    /// <summary>What a model with that many bytes of weights needs on a device under these options; types that are null count as F32.</summary>
    public static EngineMemory Of(Device device, ModelConfig config, long weights, EngineOptions options)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(options);
        int context = Math.Min(options.ContextLength ?? config.MaxContext, config.MaxContext);
        long bytesPerBlock = Inference.KvCache.BytesPerBlock(config, options.BlockSize, options.KvType ?? options.ComputeType ?? DType.F32);
        SchedulerOptions numbers = options.ForModel(context, config.EndTokenIds, bytesPerBlock, maxTokensPerStep: 1);
        DType computeType = options.ComputeType ?? DType.F32;
        var format = new KvFormat(options.BlockSize, config.KvHeads, config.HeadDim, options.KvType ?? computeType);
        long intermediate = ModelRunner.ArenaBytes(device, config, computeType, context, format, options.TokenBudget, options.MaxSequences);
        long angles = (long)context * config.HeadDim * sizeof(float);
        return new EngineMemory(weights, numbers.BlockCount * bytesPerBlock, intermediate + angles, bytesPerBlock);
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

    private InsufficientMemoryException Insufficient(string why, Exception? inner = null) => new(
        $"Too little memory: weights {Text(Weights)}, KV cache {Text(KvCache)} and intermediate results {Text(Intermediate)} need {Text(Total)}, {why}; " +
        "a smaller KV cache, token budget, context length or number of sequences needs less.", inner);

    private static string Text(long bytes) => bytes < 1 << 30 ? $"{bytes / 1048576.0:F1} MiB" : $"{bytes / 1073741824.0:F1} GiB";
}
