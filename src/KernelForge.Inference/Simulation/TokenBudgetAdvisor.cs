namespace KernelForge.Inference;

/// <summary>The steps that a token budget is chosen for.</summary>
public sealed record TokenBudgetOptions
{
    /// <summary>Sequences that decode in the step.</summary>
    public int Decodes { get; init; } = 64;

    /// <summary>Their mean context length.</summary>
    public int DecodeContext { get; init; } = 1024;

    /// <summary>Tokens of the prompt that were computed before the chunk: the longest prompts decide.</summary>
    public int PromptContext { get; init; } = 1024;

    /// <summary>Budgets are multiples of it: the tile of matrix products.</summary>
    public int Tile { get; init; } = 128;

    /// <summary>Largest budget to think of.</summary>
    public int MaxTokens { get; init; } = 8192;

    /// <summary>Longest step; null chooses for throughput.</summary>
    public TimeSpan? TimeBetweenTokens { get; init; }

    /// <summary>Share of the most tokens per second at which throughput counts as saturated, above 0, at most 1.</summary>
    public double Knee { get; init; } = 0.95;

    internal void Validate()
    {
        if (Decodes < 0) throw new ArgumentException($"TokenBudgetOptions.Decodes must be 0 or more, not {Decodes}.");
        if (DecodeContext < 0) throw new ArgumentException($"TokenBudgetOptions.DecodeContext must be 0 or more, not {DecodeContext}.");
        if (PromptContext < 0) throw new ArgumentException($"TokenBudgetOptions.PromptContext must be 0 or more, not {PromptContext}.");
        if (Tile < 1) throw new ArgumentException($"TokenBudgetOptions.Tile must be 1 or more, not {Tile}.");
        if (MaxTokens < Smallest)
            throw new ArgumentException(
                $"TokenBudgetOptions.MaxTokens must be {Smallest} or more, the first multiple of {Tile} above {Decodes} decodes, not {MaxTokens}.");
        if (TimeBetweenTokens <= TimeSpan.Zero)
            throw new ArgumentException($"TokenBudgetOptions.TimeBetweenTokens must be above 0 s, not {TimeBetweenTokens.Value.TotalSeconds} s.");
        if (!(Knee is > 0 and <= 1)) throw new ArgumentException($"TokenBudgetOptions.Knee must be above 0 and at most 1, not {Knee}.");
    }

    /// <summary>The first multiple with room for a token of a prompt beside the decodes.</summary>
    internal long Smallest => ((long)Decodes / Tile + 1) * Tile;
}

/// <summary>A token budget and what a full step of it takes.</summary>
/// <param name="Tokens">The budget.</param>
/// <param name="StepSeconds">A step with all decodes and a chunk that fills the budget.</param>
/// <param name="TokensPerSecond">Its tokens over its time.</param>
/// <param name="DecodeSeconds">The step without the chunk.</param>
/// <param name="MeetsTarget">Whether the step is short enough; true where no target is set.</param>
public readonly record struct TokenBudgetAdvice(int Tokens, double StepSeconds, double TokensPerSecond, double DecodeSeconds, bool MeetsTarget);

/// <summary>
/// Recommends a token budget (Sarathi-Serve, arXiv:2403.02310): with a target for the time between tokens the largest multiple of the tile whose step of
/// decodes and a
/// chunk of a prompt meets it, the smallest multiple where none does; without one the smallest multiple at the knee of tokens per second.
/// </summary>
public static class TokenBudgetAdvisor
{
    /// <summary>The recommendation. Throws <see cref="ArgumentException"/> when an option is out of range.</summary>
    public static TokenBudgetAdvice Advise(IStepTimeModel time, TokenBudgetOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(time);
        options ??= new TokenBudgetOptions();
        options.Validate();
        int smallest = (int)options.Smallest;
        double most = 0;
        for (int tokens = smallest; tokens <= options.MaxTokens; tokens += options.Tile) most = Math.Max(most, CostOf(time, tokens, options).TokensPerSecond);

        TokenBudgetAdvice best = CostOf(time, smallest, options);
        for (int tokens = smallest; tokens <= options.MaxTokens; tokens += options.Tile)
        {
            TokenBudgetAdvice advice = CostOf(time, tokens, options);
            if (options.TimeBetweenTokens is null && advice.TokensPerSecond >= options.Knee * most) return advice;
            if (options.TimeBetweenTokens is not null && advice.MeetsTarget) best = advice;
        }
        return best;
    }

    /// <summary>What a full step of a budget takes.</summary>
    private static TokenBudgetAdvice CostOf(IStepTimeModel time, int tokens, TokenBudgetOptions options)
    {
        long chunk = tokens - options.Decodes, decodeContext = (long)options.Decodes * options.DecodeContext;
        double decodeSeconds = time.SecondsOf(new StepLoad(options.Decodes, decodeContext, 0, 0));
        double seconds = time.SecondsOf(new StepLoad(options.Decodes, decodeContext, (int)chunk, chunk * options.PromptContext + chunk * (chunk + 1) / 2));
        bool meets = options.TimeBetweenTokens is not { } target || seconds <= target.TotalSeconds;
        return new TokenBudgetAdvice(tokens, seconds, tokens / seconds, decodeSeconds, meets);
    }
}
