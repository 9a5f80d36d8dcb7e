namespace KernelForge.Inference;

/// <summary>
/// What the engine keeps about one sample of a request: its tokens, how many of them have KV, and where. Runners read it;
/// only the scheduler changes it.
/// </summary>
public sealed class Sequence
{
    private const int MaxReservedTokens = 4096;

    private int[] _tokens;

    internal Sequence(long id, Request request, int sampleIndex, int maxLength)
    {
        (Id, Request, SampleIndex, MaxLength) = (id, request, sampleIndex, maxLength);
        Seed = SeedOf(request.Sampling.Seed ?? SamplingOptions.DefaultSeed, sampleIndex);
        _tokens = request.PromptTokens; // full, so that the first token to append moves them to an array of the sequence's own
        Length = PromptLength;
        if (request.Sampling.LogProbs is not null) LogProbs = [];
    }

    /// <summary>Number of the sequence within its scheduler, in order of arrival.</summary>
    public long Id { get; }

    /// <summary>What was asked.</summary>
    public Request Request { get; }

    /// <summary>Which of the request's samples this is, from 0.</summary>
    public int SampleIndex { get; }

    /// <summary>Seed of this sample's random numbers, made of the request's seed and the sample index.</summary>
    public ulong Seed { get; }

    /// <summary>Most tokens it may come to, prompt included: the request's limit or the model's context length.</summary>
    public int MaxLength { get; }

    /// <summary>Number of tokens, prompt included.</summary>
    public int Length { get; private set; }

    /// <summary>Number of prompt tokens.</summary>
    public int PromptLength => Request.PromptTokenIds.Length;

    /// <summary>Number of generated tokens.</summary>
    public int OutputLength => Length - PromptLength;

    /// <summary>Prompt and generated tokens. The span is valid until the next commit.</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Length);

    /// <summary>Generated tokens. The span is valid until the next commit.</summary>
    public ReadOnlySpan<int> OutputTokens => Tokens[PromptLength..];

    /// <summary>Leading tokens with valid KV: the context length of its next row.</summary>
    public int ComputedLength { get; internal set; }

    /// <summary>Prompt tokens whose KV was shared instead of computed when the sequence was first admitted.</summary>
    public int CachedLength { get; internal set; }

    /// <summary>Where its KV is; empty unless running.</summary>
    public BlockTable Table { get; } = new();

    /// <summary>Waiting, running or finished.</summary>
    public SequenceStatus Status { get; internal set; }

    /// <summary>Why it finished; null before.</summary>
    public FinishReason? FinishReason { get; internal set; }

    /// <summary>One entry per generated token when the request asked for log-probabilities, else null.</summary>
    public IReadOnlyList<TokenLogProbs>? OutputLogProbs => LogProbs;

    /// <summary>When it arrived, on the scheduler's clock.</summary>
    public TimeSpan ArrivedAt { get; internal init; }

    /// <summary>When it should have ended, on the scheduler's clock; null when nobody minds.</summary>
    public TimeSpan? Deadline => ArrivedAt + Request.Timeout;

    /// <summary>When it last gained a token, on the scheduler's clock; null before the first one.</summary>
    internal TimeSpan? LastGainAt { get; set; }

    internal List<TokenLogProbs>? LogProbs { get; }

    /// <summary>Leading blocks of the table that the prefix tree has as computed.</summary>
    internal int TreeBlocks { get; set; }

    /// <summary>Most tokens that ever had KV; what is below it and computed again is work lost by preemption.</summary>
    internal int PeakComputedLength { get; set; }

    internal bool WasAdmitted { get; set; }

    /// <summary>What became of the tokens drafted for it.</summary>
    internal AcceptanceEstimate Acceptance { get; set; }

    /// <summary>Steps in which it decoded since a draft was last planned for it.</summary>
    internal int StepsSinceDraft { get; set; }

    /// <summary>Leading tokens that a draft model has computed, for this sequence or one that it shares them with, as far as the scheduler looked.</summary>
    internal int DraftedLength { get; set; }

    /// <summary>Blocks it takes when it is as long as it may be; the last token needs no KV.</summary>
    internal int FinalBlocks { get; set; }

    /// <summary>Leading blocks of the table that <see cref="BlockShares"/> counts for other sequences.</summary>
    internal int CountedElsewhere { get; set; }

    /// <summary>Tokens that admission expects it to gain still.</summary>
    internal int TokensLeft { get; set; }

    /// <summary>Step in which admission expects its last token.</summary>
    internal long ExpectedEnd { get; set; }

    /// <summary>Samples of the same request, this one included; null when there is only one.</summary>
    internal Sequence[]? Siblings { get; set; }

    /// <summary>Position in the queue; smaller is earlier. Preempted sequences come before all others.</summary>
    internal long QueueKey { get; set; }

    internal bool Preempted { get; set; }

    /// <summary>Its number in <see cref="SchedulerOptions.PrefixPlan"/>; -1 when it is not part of one.</summary>
    internal int Planned { get; init; } = -1;

    /// <summary>The pending block this sequence waits for, if it was deferred.</summary>
    internal PendingBlock Awaited { get; set; }

    internal void Append(int token)
    {
        if (Length == _tokens.Length) Array.Resize(ref _tokens, Math.Max(Length + 1, Math.Min(MaxLength, Length + MaxReservedTokens)));
        _tokens[Length++] = token;
    }

    /// <summary>Drops generated tokens beyond the first <paramref name="count"/>, of a finished sequence: a stop string ended before them.</summary>
    internal void KeepOutput(int count)
    {
        Length = PromptLength + count;
        LogProbs?.RemoveRange(count, LogProbs.Count - count);
    }

    private static ulong SeedOf(ulong requestSeed, int sampleIndex)
    {
        if (sampleIndex == 0) return requestSeed;

        // SplitMix64: neighbouring indices give unrelated seeds.
        ulong z = requestSeed + (ulong)sampleIndex * 0x9E3779B97F4A7C15UL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}
