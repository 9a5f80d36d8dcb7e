namespace KernelForge.Inference;

/// <summary>Plan, run, commit: turns requests into tokens and text, one step at a time. Synchronous, for one thread.</summary>
public sealed partial class Engine : IDisposable
{
    private readonly Scheduler _scheduler;
    private readonly IStepRunner _runner;
    private readonly int _vocabularySize;
    private readonly Dictionary<Sequence, OutputText> _texts = [];
    private readonly List<TokenEvent> _events = [];

    /// <summary>
    /// Without a tokenizer events carry token ids only. The engine owns the runner: it is disposed with it when it can be.
    /// Throws <see cref="ArgumentException"/> when the scheduler counts on more tokens a step than the runner gives.
    /// </summary>
    public Engine(Scheduler scheduler, IStepRunner runner, int vocabularySize, ITokenizer? tokenizer = null)
    {
        if (scheduler.Options.MaxTokensPerStep > runner.MaxTokensPerStep)
        {
            throw new ArgumentException(
                $"The scheduler reserves {scheduler.Options.MaxTokensPerStep} tokens a step; the runner gives at most {runner.MaxTokensPerStep}.",
                nameof(scheduler));
        }
        (_scheduler, _runner, _vocabularySize, Tokenizer) = (scheduler, runner, vocabularySize, tokenizer);
    }

    /// <summary>Turns token ids into text; null when the engine works with ids only.</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>Whether any sequence waits or runs.</summary>
    public bool HasWork => _scheduler.HasWork;

    /// <summary>What the scheduler has done and holds.</summary>
    public SchedulerCounters Counters => _scheduler.Counters;

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
    public IReadOnlyList<Sequence> Add(Request request)
    {
        RequireVocabulary(request);
        IReadOnlyList<Sequence> samples = _scheduler.Add(request);
        if (Tokenizer is not null)
        {
            foreach (Sequence sequence in samples) _texts.Add(sequence, new OutputText(Tokenizer, request.Sampling));
        }
        return samples;
    }

    /// <summary>Runs one step and returns what the sequences gained; empty when there is nothing to do. Valid until the next step.</summary>
    public IReadOnlyList<TokenEvent> Step()
    {
        _events.Clear();
        _scheduler.StepCost = _runner.StepCost;
        StepPlan plan = _scheduler.Plan();
        if (plan.IsEmpty) return _events;

        StepResult result = _runner.Run(plan);
        foreach (TokenGain gain in _scheduler.Commit(plan, result)) _events.Add(Report(gain));
        return _events;
    }

    /// <summary>
    /// Ends a sequence now, frees its blocks and returns its last event, with text that was held back; null when it had ended.
    /// Not while a step runs.
    /// </summary>
    public TokenEvent? Cancel(Sequence sequence)
    {
        if (sequence.Status == SequenceStatus.Finished) return null;

        _scheduler.Cancel(sequence);
        string text = _texts.Remove(sequence, out OutputText? output) ? output.Flush() : "";
        return EventOf(sequence, sequence.OutputLength, text);
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
