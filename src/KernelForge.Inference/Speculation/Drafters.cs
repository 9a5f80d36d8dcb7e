namespace KernelForge.Inference;

/// <summary>The drafter that options ask for, and what it needs.</summary>
internal static class Drafters
{
    /// <summary>A drafter that owns draft model and cache, even when it cannot be made.</summary>
    /// <param name="model">Loaded from <see cref="SpeculationOptions.DraftModel"/>; null where there is none.</param>
    /// <param name="options">With all types named.</param>
    /// <param name="blocks">KV blocks, those of branches included.</param>
    /// <param name="branchBlocks">Blocks at the end of the cache that the scheduler does not have.</param>
    public static IDrafter Create(Transformer? model, EngineOptions options, int blocks, int branchBlocks)
    {
        SpeculationOptions speculation = options.Speculation!;
        if (model is null) return new NGramDrafter(speculation.LongestDraft);

        (int tokens, int rows, bool groups) = (options.TokenBudget, options.MaxSequences, options.PrefixGroups);
        KvCache? cache = null;
        try
        {
            cache = KvCache.Of(model, options, blocks);
            if (speculation.Staged) return new StagedDrafter(model, cache, speculation, tokens, rows, groups);
            if (speculation.Branches > 1) return new TreeDrafter(model, cache, speculation, tokens, rows, groups, branchBlocks);
            return new DraftModelDrafter(model, cache, speculation, tokens, rows, groups);
        }
        catch
        {
            cache?.Dispose();
            model.Dispose();
            throw;
        }
    }

    /// <summary>Bytes that a drafter with a model allocates besides the model's weights and its KV cache.</summary>
    public static long Bytes(Device device, ModelConfig config, int maxContext, KvFormat format, EngineOptions options, int branchBlocks)
    {
        SpeculationOptions speculation = options.Speculation!;
        (DType type, int tokens, int rows) = (options.ComputeType ?? DType.F32, options.TokenBudget, options.MaxSequences);
        if (speculation.Staged) return StagedDrafter.Bytes(device, config, type, maxContext, format, speculation, tokens, rows);
        if (speculation.Branches > 1) return TreeDrafter.Bytes(device, config, type, maxContext, format, speculation, tokens, rows, branchBlocks);
        return DraftModelDrafter.Bytes(device, config, type, maxContext, format, speculation, tokens, rows);
    }
}
