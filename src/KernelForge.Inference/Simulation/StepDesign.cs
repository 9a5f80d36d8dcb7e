namespace KernelForge.Inference;

/// <summary>A step made up to be measured: decoding sequences of one context length, and prompts that are computed in one chunk each.</summary>
/// <param name="Decodes">Sequences that gain a token.</param>
/// <param name="Context">Their context length.</param>
/// <param name="Shared">Of it, tokens that all of them share.</param>
/// <param name="Prompts">Prompts.</param>
/// <param name="Chunk">Tokens of each that are computed.</param>
/// <param name="History">Tokens of each that were computed before.</param>
public readonly record struct StepDesign(int Decodes, int Context, int Shared = 0, int Prompts = 0, int Chunk = 0, int History = 0)
{
    /// <summary>Query tokens.</summary>
    public int Tokens => Decodes + Prompts * Chunk;

    /// <summary>Sequences.</summary>
    public int Rows => Decodes + Prompts;

    /// <summary>
    /// Steps that tell the terms of a <see cref="CostModel"/> apart: decodes by contexts, apart and sharing most of them; chunks by history; mixtures. Those
    /// that do not fit into the limits are left out.
    /// </summary>
    /// <param name="options">Limits of a step and of the cache.</param>
    /// <param name="isSmall">About a third of them, for a quick look.</param>
    public static IReadOnlyList<StepDesign> Set(SchedulerOptions options, bool isSmall = false)
    {
        ArgumentNullException.ThrowIfNull(options);
        int[] decodes = isSmall ? [1, 8, 64] : [1, 2, 4, 8, 16, 32, 64, 128, 256];
        int[] contexts = isSmall ? [32, 512] : [32, 256, 1024, 1984];
        int[] chunks = isSmall ? [32, 256] : [16, 48, 128, 256, 512];
        if (options.TokenBudget > chunks[^1]) chunks = [.. chunks, options.TokenBudget]; // where large steps are bound by arithmetic
        List<StepDesign> designs = [];
        foreach (int count in decodes)
        {
            foreach (int context in contexts) designs.Add(new StepDesign(count, context));
            if (count >= 8) designs.Add(new StepDesign(count, 512, Shared: 448));
        }
        foreach (int chunk in chunks)
        {
            foreach (int history in contexts) designs.Add(new StepDesign(0, 0, Prompts: 1, Chunk: chunk, History: history == contexts[0] ? 0 : history));
            designs.Add(new StepDesign(0, 0, Prompts: 4, Chunk: chunk / 4, History: contexts[1]));
            foreach (int count in (ReadOnlySpan<int>)[decodes[1], decodes[^2]])
                designs.Add(new StepDesign(count, contexts[1], Prompts: 1, Chunk: chunk, History: contexts[1]));
        }
        return [.. designs.Where(design => design.Fits(options))];
    }

    /// <summary>Blocks of keys and values that it takes.</summary>
    public long Blocks(int blockSize)
    {
        long perDecode = (Context + blockSize) / blockSize - Shared / blockSize, perPrompt = (History + Chunk + blockSize - 1) / blockSize;
        return Decodes * perDecode + (Decodes > 0 ? Shared / blockSize : 0) + Prompts * perPrompt;
    }

    private bool Fits(SchedulerOptions options) =>
        Tokens <= options.TokenBudget && Rows <= options.MaxSequences
        && Math.Max(Context, History + Chunk) < options.ContextLength && Blocks(options.BlockSize) <= options.BlockCount;
}
