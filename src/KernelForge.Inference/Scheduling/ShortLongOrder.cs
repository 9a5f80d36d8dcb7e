namespace KernelForge.Inference;

/// <summary>
/// Short prompts before long ones, so that none of them waits behind a long one (LAPS); a long one that has waited for its bound goes before all short ones
/// that come later. First come, first served within both.
/// </summary>
/// <remarks>
/// Keys are times: a short prompt's is when it arrived, a long one's is later by <paramref name="mostWait"/>. So a long prompt waits for no short one that
/// comes more than that after it, whatever the load.
/// </remarks>
/// <param name="threshold">Tokens of the longest prompt that counts as short, 0 or more; <see cref="ThresholdOf"/> finds it.</param>
/// <param name="mostWait">How much later a short prompt may arrive and still go before a long one; not negative.</param>
public sealed class ShortLongOrder(int threshold, TimeSpan mostWait) : IQueueOrder
{
    private const double Flat = 1.25;

    private readonly int _threshold = threshold >= 0
        ? threshold : throw new ArgumentException($"ShortLongOrder: the threshold must be 0 or more, not {threshold}.", nameof(threshold));
    private readonly long _mostWait = mostWait >= TimeSpan.Zero
        ? mostWait.Ticks : throw new ArgumentException($"ShortLongOrder: the wait must be 0 or more, not {mostWait}.", nameof(mostWait));

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry)
    {
        long arrived = entry.ArrivedAt.Ticks;
        if (entry.PromptLength <= _threshold) return arrived;
        return arrived <= long.MaxValue - _mostWait ? arrived + _mostWait : long.MaxValue;
    }

    /// <summary>
    /// Tokens up to which a prompt costs little more than one token does, because the step waits for memory rather than for arithmetic: its time is within a
    /// quarter of that of one token.
    /// </summary>
    /// <param name="time">How long steps take.</param>
    /// <param name="mostTokens">Longest prompt looked at, 1 or more.</param>
    public static int ThresholdOf(IStepTimeModel time, int mostTokens)
    {
        double limit = Flat * SecondsOf(time, 1);
        int low = 1, high = Math.Max(mostTokens, 1);
        while (low < high)
        {
            int middle = low + (high - low + 1) / 2;
            if (SecondsOf(time, middle) <= limit) low = middle;
            else high = middle - 1;
        }
        return low;
    }

    private static double SecondsOf(IStepTimeModel time, int tokens) => time.SecondsOf(new StepLoad(0, 0, tokens, tokens * (tokens + 1L) / 2));
}
