namespace KernelForge.Inference;

/// <summary>Plan, run, commit: turns requests into tokens and text, one step at a time. Synchronous, for one thread.</summary>
public sealed partial class Engine : IDisposable
{
    private readonly IStepRunner _runner;
    private readonly int _vocabularySize;
    private readonly Dictionary<Sequence, OutputText> _texts = [];
    private readonly List<TokenEvent> _events = [];
    private readonly StreamTimes _times = new();
    private readonly Deadlines _deadlines;
    private readonly TimeProvider _clock;
    private readonly long _beginning;
    private Scheduler _scheduler;

    /// <summary>
    /// Without a tokenizer events carry token ids only. The engine owns the runner: it is disposed with it when it can be.
    /// Throws <see cref="ArgumentException"/> when the scheduler counts on more tokens a step than the runner gives.
    /// </summary>
    /// <param name="scheduler">Chooses what runs; the engine sets its <see cref="Scheduler.Now"/>.</param>
    /// <param name="runner">Carries steps out.</param>
    /// <param name="vocabularySize">Token ids are below it.</param>
    /// <param name="tokenizer">Turns tokens into text.</param>
    /// <param name="timeouts">What becomes of requests whose deadline passes.</param>
    /// <param name="clock">Tells the time; the system's when null.</param>
    public Engine(
        Scheduler scheduler, IStepRunner runner, int vocabularySize, ITokenizer? tokenizer = null, TimeoutPolicy timeouts = TimeoutPolicy.End, TimeProvider? clock = null)
    {
        if (scheduler.Options.MaxTokensPerStep > runner.MaxTokensPerStep)
        {
            throw new ArgumentException(
                $"The scheduler reserves {scheduler.Options.MaxTokensPerStep} tokens a step; the runner gives at most {runner.MaxTokensPerStep}.",
                nameof(scheduler));
        }
        (_scheduler, _runner, _vocabularySize, Tokenizer) = (scheduler, runner, vocabularySize, tokenizer);
        Timeouts = timeouts;
        _deadlines = new Deadlines(timeouts, scheduler.Options);
        _clock = clock ?? TimeProvider.System;
        _beginning = _clock.GetTimestamp();
    }

    /// <summary>Turns token ids into text; null when the engine works with ids only.</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>What becomes of requests whose deadline passes.</summary>
    public TimeoutPolicy Timeouts { get; }

    /// <summary>Whether any sequence waits or runs.</summary>
    public bool HasWork => _scheduler.HasWork;

    /// <summary>What the scheduler has done and holds.</summary>
    public SchedulerCounters Counters => _scheduler.Counters;

    /// <summary>How long sequences waited for tokens. May be read on any thread.</summary>
    public LatencyCounters Latencies => _times.Counters;

    /// <summary>Keys and values that attention has read, and how many more without prefix groups.</summary>
    public KvReads KvReads => _runner.KvReads;

    /// <summary>What drafts have come to; null when none are made.</summary>
    public SpeculationCounters? Speculation => _runner.Speculation;

    /// <summary>A request for a text, encoded with the special tokens that the model expects around it.</summary>
    /// <exception cref="InvalidOperationException">The engine has no tokenizer.</exception>
    public Request CreateRequest(string prompt, SamplingOptions? sampling = null, string id = "") => CreateRequest(Tokenizer, prompt, sampling, id);

    /// <summary>
    /// Queues a request, one sequence per sample. Throws <see cref="ArgumentException"/> when a token id is outside the vocabulary or
    /// stop strings are given without a tokenizer, and <see cref="RequestTooLongException"/> when it can never fit.
    /// </summary>
    public IReadOnlyList<Sequence> Add(Request request) => AddArrived(request, Now);

    /// <summary>
    /// Runs one step and returns what the sequences gained, and the ends of those whose deadline passed; empty when there is nothing to do. Valid until the
    /// next step.
    /// </summary>
    public IReadOnlyList<TokenEvent> Step()
    {
        _events.Clear();
        TimeSpan start = _scheduler.Now = Now;
        EndLate();
        _scheduler.StepCost = _runner.StepCost;
        StepPlan plan = _scheduler.Plan();
        if (plan.IsEmpty) return _events;

        StepResult result = _runner.Run(plan);
        ReadOnlySpan<TokenGain> gains = _scheduler.Commit(plan, result);
        BookTimes(plan, gains, start);
        foreach (TokenGain gain in gains) _events.Add(Report(gain));
        return _events;
    }

    /// <summary>
    /// Ends a sequence now, frees its blocks and returns its last event, with text that was held back; null when it had ended.
    /// Not while a step runs.
    /// </summary>
    public TokenEvent? Cancel(Sequence sequence)
    {
        return sequence.Status == SequenceStatus.Finished ? null : End(sequence, FinishReason.Cancelled);
    }

    /// <summary>
    /// Runs the requests to their ends and returns their completions in order, sample by sample. When cancelled or when the runner fails,
    /// all of them are cancelled first. Throws <see cref="InvalidOperationException"/> when the engine has other work.
    /// </summary>
    public IReadOnlyList<Completion> Generate(IEnumerable<Request> requests, CancellationToken cancellationToken = default)
    {
        if (HasWork) throw new InvalidOperationException("Engine.Generate needs an idle engine; it still has sequences from Add.");

        List<CompletionBuilder> builders = [];
        Dictionary<Sequence, CompletionBuilder> open = [];
        try
        {
            foreach (Request request in requests)
            {
                var builder = new CompletionBuilder(request);
                foreach (Sequence sequence in Add(request)) open.Add(sequence, builder);
                builders.Add(builder);
            }
            RunToEnd(open, cancellationToken);
        }
        finally
        {
            foreach (Sequence sequence in open.Keys) Cancel(sequence); // those that ended are left alone
        }
        return [.. builders.SelectMany(builder => builder.Build())];
    }

    /// <summary>Frees all blocks kept for later sequences.</summary>
    public void ClearCache() => _scheduler.ClearCache();

    /// <summary>Disposes the runner.</summary>
    public void Dispose() => (_runner as IDisposable)?.Dispose();

    /// <summary>Time since the engine was made: <see cref="Scheduler.Now"/> and the beginning of deadlines. May be read on any thread.</summary>
    internal TimeSpan Now => _clock.GetElapsedTime(_beginning);

    internal TimeProvider Clock => _clock;

    /// <summary>Sequences that the last step admitted for the first time.</summary>
    internal IReadOnlyList<Sequence> Started => _scheduler.Started;

    /// <summary>Queues a request that arrived some time ago, at the door of a host.</summary>
    internal IReadOnlyList<Sequence> AddArrived(Request request, TimeSpan arrivedAt)
    {
        RequireVocabulary(request);
        _scheduler.Now = arrivedAt;
        IReadOnlyList<Sequence> samples = _scheduler.Add(request);
        foreach (Sequence sequence in samples)
        {
            _deadlines.Add(sequence);
            if (Tokenizer is not null) _texts.Add(sequence, new OutputText(Tokenizer, request.Sampling));
        }
        return samples;
    }

    internal static Request CreateRequest(ITokenizer? tokenizer, string prompt, SamplingOptions? sampling, string id)
    {
        if (tokenizer is null) throw new InvalidOperationException("A prompt of text needs an engine with a tokenizer; this one takes token ids.");
        return new Request(tokenizer.Encode(prompt), sampling) { Id = id };
    }

    private void RunToEnd(Dictionary<Sequence, CompletionBuilder> open, CancellationToken cancellationToken)
    {
        var byId = open.ToDictionary(entry => entry.Key.Id, entry => entry.Value);
        while (HasWork)
        {
            cancellationToken.ThrowIfCancellationRequested();
            foreach (TokenEvent gained in Step()) byId[gained.SequenceId].Add(gained);
        }
    }

    private void EndLate()
    {
        while (_deadlines.TryTakeLate(_scheduler.Now, out Sequence late))
        {
            _events.Add(End(late, FinishReason.TimedOut));
            _times.TimedOut();
        }
    }

    private TokenEvent End(Sequence sequence, FinishReason reason)
    {
        _scheduler.Finish(sequence, reason);
        string text = _texts.Remove(sequence, out OutputText? output) ? output.Flush() : "";
        return EventOf(sequence, sequence.OutputLength, text);
    }

    /// <summary>Learns from how long the step took, the scheduler's own work included.</summary>
    private void BookTimes(StepPlan plan, ReadOnlySpan<TokenGain> gains, TimeSpan start)
    {
        TimeSpan now = Now, took = now - start;
        foreach (TokenGain gain in gains) _times.Gained(gain.Sequence, now);
        _deadlines.Observe(took);
        _scheduler.Options.Budget.Observe(plan.Load, took.TotalSeconds);
    }

    /// <summary>Turns a gain into text. A stop string may end the sequence before its last token.</summary>
    private TokenEvent Report(in TokenGain gain)
    {
        Sequence sequence = gain.Sequence;
        if (!_texts.TryGetValue(sequence, out OutputText? output)) return EventOf(sequence, gain.Start, "");

        string text = "";
        for (int i = 0; i < gain.Count && !output.Stopped; i++)
        {
            int index = gain.Start + i;
            if (!IsHiddenStop(sequence, index)) text += output.Append(sequence.OutputTokens[index], index);
            if (!output.Stopped) continue;
            _scheduler.Finish(sequence, FinishReason.Stop);
            sequence.KeepOutput(index + 1);
        }
        if (sequence.Status == SequenceStatus.Finished)
        {
            text += output.Flush();
            if (output.Stopped) sequence.FinishReason = FinishReason.Stop; // even when its limit was reached in the same step
            _texts.Remove(sequence);
        }
        return EventOf(sequence, gain.Start, text);
    }

    /// <summary>Whether the token ended the sequence, so that its text is left out.</summary>
    private static bool IsHiddenStop(Sequence sequence, int index) =>
        sequence.FinishReason == FinishReason.Stop && index == sequence.OutputLength - 1 && !sequence.Request.Sampling.IncludeStopString;

    private static TokenEvent EventOf(Sequence sequence, int start, string text) => new()
    {
        SequenceId = sequence.Id,
        Request = sequence.Request,
        SampleIndex = sequence.SampleIndex,
        TokenIds = sequence.OutputTokens[start..].ToArray(),
        Text = text,
        FinishReason = sequence.FinishReason,
        LogProbs = sequence.LogProbs?.GetRange(start, sequence.OutputLength - start),
        CachedTokens = sequence.CachedLength,
    };

    private void RequireVocabulary(Request request)
    {
        SamplingOptions sampling = request.Sampling;
        foreach (int id in request.PromptTokenIds) RequireId(id, "The prompt");
        foreach (int id in sampling.StopTokenIds) RequireId(id, "SamplingOptions.StopTokenIds");
        foreach (int id in sampling.LogitBias.Keys) RequireId(id, "SamplingOptions.LogitBias");
        if (Tokenizer is null && sampling.StopStrings.Count > 0)
            throw new ArgumentException("SamplingOptions.StopStrings need an engine with a tokenizer.", nameof(request));
    }

    private void RequireId(int id, string where)
    {
        if ((uint)id >= (uint)_vocabularySize)
            throw new ArgumentException($"{where} has token id {id}; expected ids in [0, {_vocabularySize}).");
    }
}
