namespace KernelForge.Inference;

/// <summary>Seconds that a server is busy with a batch: <c>(k1 b + k2) + (k3 b + k4) m</c> for b requests of which the longest has m output tokens.</summary>
/// <param name="PerRequest">k1: of a request, whatever its length: its prompt.</param>
/// <param name="PerBatch">k2: of a batch.</param>
/// <param name="PerToken">k3: of a token of one request.</param>
/// <param name="PerStep">k4: of a step, whatever its size.</param>
public readonly record struct ServiceTime(double PerRequest, double PerBatch, double PerToken, double PerStep)
{
    /// <summary>The time of a batch.</summary>
    public double SecondsOf(int batch, double maxTokens) => PerRequest * batch + PerBatch + (PerToken * batch + PerStep) * maxTokens;
}

/// <summary>A queue and what a clipped answer costs.</summary>
public sealed record MaxTokensOptions
{
    /// <summary>Requests that arrive in a second.</summary>
    public required double ArrivalsPerSecond { get; init; }

    /// <summary>How long the server is busy.</summary>
    public required ServiceTime Service { get; init; }

    /// <summary>Requests that are served together until the longest has ended; 1 is the M/G/1 queue.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>Seconds of waiting that a clipped answer is as bad as.</summary>
    public double PenaltySeconds { get; init; } = 60;

    /// <summary>Smallest limit to think of.</summary>
    public int MinTokens { get; init; } = 1;

    internal void Validate()
    {
        if (!(ArrivalsPerSecond > 0 && double.IsFinite(ArrivalsPerSecond)))
            throw new ArgumentException($"MaxTokensOptions.ArrivalsPerSecond must be above 0, not {ArrivalsPerSecond}.");
        if (BatchSize < 1) throw new ArgumentException($"MaxTokensOptions.BatchSize must be 1 or more, not {BatchSize}.");
        if (MinTokens < 1) throw new ArgumentException($"MaxTokensOptions.MinTokens must be 1 or more, not {MinTokens}.");
        if (!(PenaltySeconds >= 0 && double.IsFinite(PenaltySeconds)))
            throw new ArgumentException($"MaxTokensOptions.PenaltySeconds must be 0 or more, not {PenaltySeconds}.");
        if (Service is not { PerRequest: >= 0, PerBatch: >= 0, PerToken: >= 0, PerStep: >= 0 }
            || Service.SecondsOf(BatchSize, MinTokens) is not (> 0 and < double.PositiveInfinity))
            throw new ArgumentException($"MaxTokensOptions.Service must have times of 0 or more, one of them above 0, not {Service}.");
    }
}

/// <summary>A limit for the tokens of answers and what it brings.</summary>
/// <param name="MaxTokens">The limit.</param>
/// <param name="WaitSeconds">Mean time in the queue; infinite where requests come faster than they are served.</param>
/// <param name="Utilisation">Share of the time that the server is busy; 1 and more where the queue grows without end.</param>
/// <param name="ClippedShare">Share of answers that are cut.</param>
/// <param name="CostSeconds">Waiting and penalties, for a request.</param>
public readonly record struct MaxTokensAdvice(int MaxTokens, double WaitSeconds, double Utilisation, double ClippedShare, double CostSeconds)
{
    /// <summary>Whether the queue stays finite.</summary>
    public bool IsStable => Utilisation < 1;
}

/// <summary>
/// Recommends a limit for the tokens of answers (queueing analysis with token clipping, arXiv:2407.05347): few very long answers keep all others waiting, since
/// waiting grows with the second moment of the service time.
/// </summary>
/// <remarks>
/// cost(m) = E[W] + penalty · P(N &gt; m). With batches of b served together, H = k1 b + k2 + (k3 b + k4) min(max N, m), ρ = λ E[H] / b and
/// E[W] = (b - 1) / 2λ + (1 / b + Var H / E[H]²) / 2 · ρ / (1 - ρ) · E[H]: the time until a batch is full, then Kingman's formula with batches that arrive as
/// sums of b exponential times. With b = 1 that is the M/G/1 queue exactly: λ E[S²] / 2(1 - λ E[S]). Between two lengths of answers the cost only grows, so that the best
/// limit is one of the lengths, or the smallest allowed.
/// </remarks>
public static class MaxTokensAdvisor
{
    /// <summary>The limit of least cost, the smaller one of equals; the smallest allowed where none keeps the queue finite.</summary>
    /// <param name="outputTokens">Lengths of answers as they would be without a limit, at least one.</param>
    /// <param name="options">The queue.</param>
    /// <exception cref="ArgumentException">An argument is out of range.</exception>
    public static MaxTokensAdvice Advise(IReadOnlyList<int> outputTokens, MaxTokensOptions options)
    {
        int[] sorted = Sorted(outputTokens, options);
        MaxTokensAdvice best = CostOf(sorted, options.MinTokens, options);
        int last = options.MinTokens;
        foreach (int length in sorted)
        {
            if (length <= last) continue;
            last = length;
            MaxTokensAdvice advice = CostOf(sorted, length, options);
            if (advice.CostSeconds < best.CostSeconds) best = advice;
        }
        return best;
    }

    /// <summary>What a limit brings.</summary>
    /// <exception cref="ArgumentException">An argument is out of range.</exception>
    public static MaxTokensAdvice CostOf(IReadOnlyList<int> outputTokens, int maxTokens, MaxTokensOptions options)
    {
        if (maxTokens < 1) throw new ArgumentException($"A limit must be 1 token or more, not {maxTokens}.", nameof(maxTokens));
        return CostOf(Sorted(outputTokens, options), maxTokens, options);
    }

    private static MaxTokensAdvice CostOf(int[] sorted, int maxTokens, MaxTokensOptions options)
    {
        (double mean, double square) = Longest(sorted, maxTokens, options.BatchSize);
        ServiceTime service = options.Service;
        double b = options.BatchSize, rate = options.ArrivalsPerSecond, perToken = service.PerToken * b + service.PerStep;
        double seconds = service.SecondsOf(options.BatchSize, mean), variance = perToken * perToken * Math.Max(0, square - mean * mean);
        double utilisation = rate * seconds / b;
        double wait = utilisation < 1
            ? (b - 1) / (2 * rate) + (1 / b + variance / (seconds * seconds)) / 2 * utilisation / (1 - utilisation) * seconds
            : double.PositiveInfinity;
        double clipped = 1 - (double)CountUpTo(sorted, maxTokens) / sorted.Length;
        return new MaxTokensAdvice(maxTokens, wait, utilisation, clipped, wait + options.PenaltySeconds * clipped);
    }

    /// <summary>First two moments of the longest of b answers, each cut at a limit: P(longest ≤ x) = P(N ≤ x)^b.</summary>
    private static (double Mean, double Square) Longest(int[] sorted, int maxTokens, int batch)
    {
        double mean = 0, square = 0, below = 0;
        for (int i = 0; i < sorted.Length && below < 1;)
        {
            double tokens = Math.Min(sorted[i], maxTokens);
            i = CountUpTo(sorted, sorted[i]);
            double upTo = tokens >= maxTokens ? 1 : Math.Pow((double)i / sorted.Length, batch);
            mean += (upTo - below) * tokens;
            square += (upTo - below) * tokens * tokens;
            below = upTo;
        }
        return (mean, square);
    }

    /// <summary>Lengths up to a number, that included.</summary>
    private static int CountUpTo(int[] sorted, int most)
    {
        int low = 0, high = sorted.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (sorted[middle] <= most) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    private static int[] Sorted(IReadOnlyList<int> outputTokens, MaxTokensOptions options)
    {
        ArgumentNullException.ThrowIfNull(outputTokens);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (outputTokens.Count == 0) throw new ArgumentException("A limit needs the length of an answer or more, got none.", nameof(outputTokens));
        int[] sorted = [.. outputTokens];
        Array.Sort(sorted);
        return sorted[0] >= 1 ? sorted : throw new ArgumentException($"Answers must have 1 token or more, not {sorted[0]}.", nameof(outputTokens));
    }
}
