namespace KernelForge.Inference;

/// <summary>Short prompts that wait for more of their kind, before they are computed together in a fixed shape.</summary>
/// <param name="Waiting">How many wait.</param>
/// <param name="BatchSize">How many fill the shape.</param>
/// <param name="ArrivalsPerSecond">How many come in a second.</param>
/// <param name="Waited">How long the first of them has waited.</param>
/// <param name="Slack">Time until the first of their deadlines; null when none has one.</param>
/// <param name="Service">How long a full batch takes to compute.</param>
public readonly record struct ShortBatch(int Waiting, int BatchSize, double ArrivalsPerSecond, TimeSpan Waited, TimeSpan? Slack, TimeSpan Service);

/// <summary>
/// How long short prompts wait for more of their kind (LAPS): until the batch is expected to be full, and never so long that a deadline could not be met.
/// </summary>
/// <param name="mostWait">Longest wait of one prompt, not negative; LAPS finds about 6 ms best.</param>
/// <param name="margin">Time before the last moment at which a batch must start, not negative: what measured times may be wrong by.</param>
public sealed class ShortBatchWindow(TimeSpan mostWait, TimeSpan margin)
{
    private readonly TimeSpan _mostWait = mostWait >= TimeSpan.Zero
        ? mostWait : throw new ArgumentException($"ShortBatchWindow: the wait must be 0 or more, not {mostWait}.", nameof(mostWait));
    private readonly TimeSpan _margin = margin >= TimeSpan.Zero
        ? margin : throw new ArgumentException($"ShortBatchWindow: the margin must be 0 or more, not {margin}.", nameof(margin));

    /// <summary>How long from now to wait for one more; zero starts the batch. Asked again whenever one arrives.</summary>
    public TimeSpan WaitFor(in ShortBatch batch)
    {
        if (batch.Waiting == 0) return _mostWait;
        int missing = batch.BatchSize - batch.Waiting;
        if (missing <= 0 || !(batch.ArrivalsPerSecond > 0)) return TimeSpan.Zero;

        double toFill = missing / batch.ArrivalsPerSecond;
        TimeSpan wait = _mostWait - batch.Waited, spare = batch.Slack - batch.Service - _margin ?? TimeSpan.MaxValue;
        if (toFill < wait.TotalSeconds) wait = TimeSpan.FromSeconds(toFill);
        if (spare < wait) wait = spare;
        return wait > TimeSpan.Zero ? wait : TimeSpan.Zero;
    }
}
