namespace KernelForge.Inference;

/// <summary>What a batch size has to meet.</summary>
public sealed record BatchSizeOptions
{
    /// <summary>Share of the plateau's tokens per second that the batch must reach, above 0, at most 1.</summary>
    public double Efficiency { get; init; } = 0.9;

    /// <summary>Longest step; null when any will do.</summary>
    public TimeSpan? TimeBetweenTokens { get; init; }

    /// <summary>Largest batch to think of; fewer where the memory holds fewer.</summary>
    public int MaxBatch { get; init; } = 4096;

    /// <summary>Standard deviations above the mean of their tokens for which sequences get memory.</summary>
    public double Deviations { get; init; } = 2.33; // 99 % of the time

    internal void Validate()
    {
        if (!(Efficiency is > 0 and <= 1)) throw new ArgumentException($"BatchSizeOptions.Efficiency must be above 0 and at most 1, not {Efficiency}.");
        if (TimeBetweenTokens <= TimeSpan.Zero)
            throw new ArgumentException($"BatchSizeOptions.TimeBetweenTokens must be above 0 s, not {TimeBetweenTokens.Value.TotalSeconds} s.");
        if (MaxBatch < 1) throw new ArgumentException($"BatchSizeOptions.MaxBatch must be 1 or more, not {MaxBatch}.");
        if (!(Deviations >= 0 && double.IsFinite(Deviations))) throw new ArgumentException($"BatchSizeOptions.Deviations must be 0 or more, not {Deviations}.");
    }
}

/// <summary>A number of decoding sequences and what it brings.</summary>
/// <param name="Batch">Sequences that decode at the same time.</param>
/// <param name="StepSeconds">Time between two tokens of a sequence.</param>
/// <param name="TokensPerSecond">Of all of them.</param>
/// <param name="PlateauTokensPerSecond">The most that any batch brings which the memory holds.</param>
/// <param name="LargestBatch">The largest batch looked at: what the memory holds.</param>
/// <param name="KvBytes">Memory for its keys and values.</param>
/// <param name="FreeBytes">What is left of the memory for keys and values: room for another copy of the model, or another one.</param>
/// <param name="MeetsEfficiency">Whether it reaches the share of the plateau that was asked for.</param>
/// <param name="MeetsLatency">Whether its step is short enough.</param>
public readonly record struct BatchSizeAdvice(
    int Batch, double StepSeconds, double TokensPerSecond, double PlateauTokensPerSecond, int LargestBatch, long KvBytes, long FreeBytes,
    bool MeetsEfficiency, bool MeetsLatency)
{
    /// <summary>Share of the plateau that it reaches.</summary>
    public double Efficiency => TokensPerSecond / PlateauTokensPerSecond;
}

/// <summary>
/// Recommends how many sequences decode at the same time (Mind the Memory Gap, arXiv:2503.08311): attention keeps large batches bound by memory, so throughput
/// flattens long before the memory is full. The smallest batch within an efficiency floor of the plateau and within a latency limit leaves memory free.
/// </summary>
/// <remarks>
/// tokens/s(b) = b / seconds of b decodes at the mean context µ. Keys and values of b sequences take b µ + z σ √b tokens, at most b times the longest context.
/// Where no batch meets both, latency goes before efficiency; where none meets the latency, it is 1.
/// </remarks>
public static class BatchSizeAdvisor
{
    /// <summary>The recommendation.</summary>
    /// <param name="time">How long steps take.</param>
    /// <param name="contextLengths">Context lengths of decoding sequences as they are met, at least one.</param>
    /// <param name="kvBytesPerToken">Bytes of a token's keys and values.</param>
    /// <param name="kvBytes">Memory for keys and values.</param>
    /// <param name="options">What it has to meet.</param>
    /// <exception cref="ArgumentException">An argument is out of range, or the memory does not hold one sequence.</exception>
    public static BatchSizeAdvice Advise(
        IStepTimeModel time, IReadOnlyList<int> contextLengths, long kvBytesPerToken, long kvBytes, BatchSizeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(time);
        ArgumentNullException.ThrowIfNull(contextLengths);
        options ??= new BatchSizeOptions();
        options.Validate();
        if (contextLengths.Count == 0) throw new ArgumentException("A batch size needs a context length or more, got none.", nameof(contextLengths));
        if (kvBytesPerToken < 1) throw new ArgumentException($"Bytes per token must be 1 or more, not {kvBytesPerToken}.", nameof(kvBytesPerToken));

        var contexts = Contexts.Of(contextLengths, options.Deviations);
        int largest = 0;
        while (largest < options.MaxBatch && contexts.TokensOf(largest + 1) * kvBytesPerToken <= kvBytes) largest++;
        if (largest == 0)
            throw new ArgumentException(
                $"One sequence needs {contexts.TokensOf(1) * kvBytesPerToken} bytes for keys and values; there are {kvBytes}.", nameof(kvBytes));

        double plateau = 0;
        for (int batch = 1; batch <= largest; batch++) plateau = Math.Max(plateau, batch / SecondsOf(time, batch, contexts.Mean));
        int chosen = Choose(time, contexts.Mean, largest, plateau, options);
        double seconds = SecondsOf(time, chosen, contexts.Mean);
        long bytes = contexts.TokensOf(chosen) * kvBytesPerToken;
        return new BatchSizeAdvice(
            chosen, seconds, chosen / seconds, plateau, largest, bytes, kvBytes - bytes,
            chosen / seconds >= options.Efficiency * plateau, IsShort(seconds, options));
    }

    /// <summary>The smallest batch that meets both, else the one with the most tokens per second that meets the latency, else 1.</summary>
    private static int Choose(IStepTimeModel time, double context, int largest, double plateau, BatchSizeOptions options)
    {
        int best = 1;
        double bestRate = 0;
        for (int batch = 1; batch <= largest; batch++)
        {
            double seconds = SecondsOf(time, batch, context), rate = batch / seconds;
            if (!IsShort(seconds, options)) continue;
            if (rate >= options.Efficiency * plateau) return batch;
            if (rate > bestRate) (best, bestRate) = (batch, rate);
        }
        return best;
    }

    private static bool IsShort(double seconds, BatchSizeOptions options) => options.TimeBetweenTokens is not { } limit || seconds <= limit.TotalSeconds;

    private static double SecondsOf(IStepTimeModel time, int batch, double context) =>
        time.SecondsOf(new StepLoad(batch, (long)Math.Round(batch * context), 0, 0));

    /// <summary>Context lengths as numbers.</summary>
    private readonly record struct Contexts(double Mean, double Spread, int Longest)
    {
        public static Contexts Of(IReadOnlyList<int> lengths, double deviations)
        {
            double mean = lengths.Average(), variance = lengths.Average(length => (length - mean) * (length - mean));
            return new Contexts(mean, deviations * Math.Sqrt(variance), lengths.Max());
        }

        /// <summary>Tokens that so many sequences hold; one more each for the token they compute.</summary>
        public long TokensOf(int batch) => (long)Math.Ceiling(Math.Min(batch * Mean + Spread * Math.Sqrt(batch), (double)batch * Longest)) + batch;
    }
}
