namespace KernelForge.Inference;

/// <summary>
/// The most tokens whose step is expected to take no longer than a target, so that streams keep their pace while prompts are computed (Sarathi-Serve,
/// arXiv:2403.02310). Chunks shrink as the context of their prompt grows, so that the time stays the same (Mnemosyne, arXiv:2409.17264). Not thread-safe.
/// </summary>
/// <remarks>
/// Told the times of steps, it expects as much more than the model as it takes for 19 of 20 steps to meet the target. Where decodes alone take longer than the
/// target it asks for nothing but them: the scheduler then still computes one prompt token, new sequences hardly start, and steps get shorter as old ones end.
/// </remarks>
/// <param name="time">How long a step takes; should never say less for more tokens.</param>
/// <param name="target">What a step should take.</param>
/// <param name="tile">Tokens that a device computes together: a part of a tile takes the time of a whole one. 1 where there are none.</param>
public sealed class LatencyBudget(IStepTimeModel time, TimeSpan target, int tile = 1) : IStepBudget
{
    private const double Quantile = 0.95, LearningRate = 0.02, MostCaution = 4;

    private readonly double _target = target > TimeSpan.Zero
        ? target.TotalSeconds
        : throw new ArgumentException($"A latency target must be more than 0 s, not {target.TotalSeconds} s.", nameof(target));
    private readonly int _tile = tile >= 1 ? tile : throw new ArgumentException($"A tile of 1 token or more is expected, not {tile}.", nameof(tile));
    private double _caution = 1;

    /// <summary>What a step should take.</summary>
    public TimeSpan Target => target;

    /// <summary>How much longer than the model says steps are expected to take, from 1 to 4.</summary>
    public double Caution => _caution;

    /// <inheritdoc/>
    public int TokensFor(in StepLoad decodes, int promptContext, int mostTokens)
    {
        int low = 0, high = Math.Max(0, mostTokens - decodes.Decodes); // low meets the target, or nothing does
        while (low < high)
        {
            int middle = low + (high - low + 1) / 2;
            if (_caution * SecondsOf(decodes, promptContext, middle) <= _target) low = middle;
            else high = middle - 1;
        }
        return Math.Max(1, decodes.Decodes + WholeTiles(decodes, promptContext, low));
    }

    /// <inheritdoc/>
    public void Observe(in StepLoad load, double seconds)
    {
        double expected = time.SecondsOf(load);
        if (expected > 0 && seconds > 0)
        {
            double change = seconds > expected * _caution ? Quantile : Quantile - 1;
            _caution = Math.Clamp(_caution * (1 + LearningRate * change), 1, MostCaution);
        }
        time.Observe(load, seconds);
    }

    /// <summary>
    /// Prompt tokens without those that would begin another tile, where that computes more of them in a second: the last tile, not full, costs a whole one.
    /// </summary>
    private int WholeTiles(in StepLoad decodes, int promptContext, int prompt)
    {
        int beyond = (decodes.Decodes + prompt) % _tile, kept = prompt - beyond;
        if (beyond == 0 || kept <= 0) return prompt;

        double whole = SecondsOf(decodes, promptContext, kept), padded = SecondsOf(decodes, promptContext, prompt + _tile - beyond);
        return kept * padded >= prompt * whole ? kept : prompt;
    }

    private double SecondsOf(in StepLoad decodes, int promptContext, int prompt) => time.SecondsOf(decodes with
    {
        PromptTokens = prompt, PromptContext = prompt * (long)promptContext + prompt * (prompt + 1L) / 2,
    });
}
