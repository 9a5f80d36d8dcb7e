namespace KernelForge.Inference;

/// <summary>Where a step has enough tokens: more of them no longer raise throughput (memory-centric batching of BatchLLM).</summary>
public static class TokenKnee
{
    private const int Tile = 256, Most = 8192, Context = 1024;
    private const double Enough = 0.99;

    /// <summary>Fewest tokens of prompts, a multiple of 256 up to 8192, with 99 % of the most tokens per second that any such number reaches.</summary>
    public static int Of(IStepTimeModel time)
    {
        ArgumentNullException.ThrowIfNull(time);
        double best = 0;
        for (int tokens = Tile; tokens <= Most; tokens += Tile) best = Math.Max(best, TokensPerSecond(time, tokens));
        for (int tokens = Tile; tokens < Most; tokens += Tile)
            if (TokensPerSecond(time, tokens) >= Enough * best) return tokens;
        return Most;
    }

    private static double TokensPerSecond(IStepTimeModel time, int tokens) => tokens / time.SecondsOf(new StepLoad(0, 0, tokens, (long)tokens * Context));
}
