namespace KernelForge.Inference;

/// <summary>
/// Chooses what runs in the next step and books what came of it. Works in integers and never sees a device. Not thread-safe.
/// </summary>
/// <remarks>
/// A step takes the decoding sequences first, oldest first, then the prompts that are under way, then admits waiting ones, until the
/// token budget is spent; a prompt that does not fit is computed in chunks (Sarathi-Serve, arXiv:2403.02310). When blocks run out,
/// cached ones are evicted first, then the latest arrivals are preempted: they go back to the front of the queue and are recomputed.
/// None of this changes any sequence's tokens.
/// </remarks>
public sealed partial class Scheduler
{
    private readonly SchedulerOptions _options;
    private readonly PrefixNeeds? _needs;
    private readonly KvBlocks _kv;
    private readonly PrefixPins _pins;
    private readonly int[] _endTokenIds;
    private readonly StepPlan _plan;
    private readonly WaitingQueue _waiting = new();
    private readonly List<Sequence> _running = []; // by id, oldest first
    private readonly List<TokenGain> _gains = [];
    private readonly List<Sequence> _started = [];
    private int[] _contextLengths = [];
    private bool[] _chosen = [];
    private SchedulerCounters _counters;
    private long _nextId;
    private int _budget;
    private bool _preempted;

    /// <summary>Starts with all blocks free. Throws <see cref="ArgumentException"/> when an option is out of range.</summary>
    public Scheduler(SchedulerOptions options)
    {
        options.Validate();
        _options = options;
        _needs = options.PrefixPlan?.MakeNeeds();
        _kv = new KvBlocks(new BlockPool(options.BlockCount), options.BlockSize, options.PrefixCache, options.WaitsForPrefixes, _needs)
        {
            EndPin = EndPin,
        };
        _pins = new PrefixPins(_kv.Tree, options.KeepAlive);
        _endTokenIds = [.. options.EndTokenIds];
        _plan = new StepPlan(options.BlockSize);
        _admission = options.Admission.For(options);
        _shares = new BlockShares(options.BlockCount);
        _keyOf = sequence => options.Order.KeyOf(EntryOf(sequence));
        _draftCoverage = new DraftCoverage(options.BlockCount, options.BlockSize);
    }

    /// <summary>The numbers it works with.</summary>
    public SchedulerOptions Options => _options;

    /// <summary>Whether any sequence waits or runs.</summary>
    public bool HasWork => _counters.Waiting > 0 || _running.Count > 0;

    /// <summary>What it has done and holds.</summary>
    public SchedulerCounters Counters => _counters with
    {
        Running = _running.Count,
        BlocksInUse = _kv.InUse,
        BlocksCached = _kv.Tree.IdleCount,
        TurnsKept = _pins.Count,
        TurnsResumed = _pins.Resumed,
        Evictions = _kv.Evictions,
    };

    /// <summary>
    /// Time since some beginning, for orders and lifetimes that depend on it. Whoever steps the scheduler sets it before every plan; it does not look at a clock.
    /// </summary>
    public TimeSpan Now { get; set; }

    /// <summary>Sequences that the last plan admitted for the first time.</summary>
    internal IReadOnlyList<Sequence> Started => _started;

    internal KvBlocks Kv => _kv;

    internal PrefixPins Pins => _pins;

    /// <summary>
    /// Queues a request as one sequence per sample. Samples after the first wait for a running one to compute the prompt and share its
    /// full blocks. A limit beyond the context length is cut to it. Throws <see cref="RequestTooLongException"/> when the prompt leaves no
    /// room in the context, or prompt and token limit together need more blocks than there are.
    /// </summary>
    public IReadOnlyList<Sequence> Add(Request request)
    {
        int maxLength = LimitOrForget(request);
        if (request.Session.Length > 0) _pins.Claim(request.Session, Now);
        var samples = new Sequence[request.Sampling.N];
        for (int i = 0; i < samples.Length; i++)
        {
            Sequence sequence = samples[i] = new Sequence(_nextId++, request, i, maxLength) { Planned = _needs?.Claim(request) ?? -1, ArrivedAt = Now };
            sequence.FinalBlocks = _kv.BlocksFor(maxLength - 1);
            sequence.QueueKey = _keyOf(sequence);
            _kv.Expect(sequence);
            if (samples.Length > 1) sequence.Siblings = samples;
            Enqueue(sequence);
        }
        _counters.Waiting += samples.Length;
        return samples;
    }

    /// <summary>Throws <see cref="RequestTooLongException"/> as <see cref="Add"/> does.</summary>
    internal void RequireFits(Request request) => LengthLimitOf(request);

    /// <summary>
    /// Chooses the rows of the next step and reserves their blocks. Planning again without a commit is allowed and plans the same work.
    /// </summary>
    public StepPlan Plan()
    {
        _plan.Clear();
        _started.Clear();
        if (_pins.TryEndUntil(Now)) _refused = null;
        _preempted = false;

        int decodes = SelectDecodes();
        _budget = ChooseBudget(decodes);
        PlanDecodes(decodes);
        PlanPrefills();
        if (!_preempted) Admit(); // what was just sent away must not come back in the same step

        _counters.BlocksPeak = Math.Max(_counters.BlocksPeak, _kv.InUse);
        return _plan;
    }

    /// <summary>Ends a sequence now and frees its blocks; nothing happens when it has ended. Not while a runner carries out a plan.</summary>
    public void Finish(Sequence sequence, FinishReason reason)
    {
        if (sequence.Status == SequenceStatus.Finished) return;

        bool waited = sequence.Status == SequenceStatus.Waiting;
        if (waited) _counters.Waiting--;
        else _running.Remove(sequence);
        End(sequence, reason);
        if (waited) _kv.Abandon(sequence);
    }

    /// <summary>Ends a sequence that nobody wants any more.</summary>
    public void Cancel(Sequence sequence) => Finish(sequence, FinishReason.Cancelled);

    /// <summary>Frees all blocks kept for later sequences, those of ended turns too.</summary>
    public void ClearCache()
    {
        _pins.EndAll();
        _kv.Tree.EvictAll();
    }

    private bool EndPin()
    {
        _refused = null; // more may come free than is taken
        return _pins.TryEndLeast(Now);
    }

    /// <summary>Asks the policy how many tokens the step may have: at least the decodes and one of a prompt, as far as these fit at all.</summary>
    private int ChooseBudget(int decodes)
    {
        long context = 0;
        int promptContext = -1;
        for (int i = 0; i < _running.Count; i++)
        {
            if (_chosen[i]) context += _running[i].ComputedLength;
            else if (promptContext < 0 && !IsDecoding(_running[i])) promptContext = _running[i].ComputedLength;
        }
        int wanted = _options.Budget.TokensFor(new StepLoad(decodes, context, 0, 0), Math.Max(0, promptContext), _options.TokenBudget);
        return Math.Min(_options.TokenBudget, Math.Max(wanted, decodes + 1));
    }

    private void PlanDecodes(int decodes)
    {
        int drafts = ChooseDraftLengths(decodes), next = 0;
        for (int i = 0; i < _running.Count && _budget > 0; i++)
        {
            if (!_chosen[i]) continue;
            int length = Math.Clamp(_draftLengths[next++], 0, Math.Min(drafts, _options.MaxTokensPerStep - 1));
            int cost = PlanDecode(_running[i], 1 + length, drafts);
            if (cost == 0) break;
            drafts -= cost - 1;
        }
    }

    /// <summary>Asks the policy which sequences step and returns how many.</summary>
    private int SelectDecodes()
    {
        int count = _running.Count, decodes = 0;
        if (_chosen.Length < count)
        {
            _chosen = new bool[2 * count];
            _contextLengths = new int[2 * count];
        }
        foreach (Sequence sequence in _running)
        {
            if (IsDecoding(sequence)) _contextLengths[decodes++] = sequence.ComputedLength;
        }

        Span<bool> chosen = _chosen.AsSpan(0, decodes);
        chosen.Clear();
        _options.Decodes.Choose(_contextLengths.AsSpan(0, decodes), chosen);
        if (!chosen.Contains(true)) chosen.Fill(true);
        int selected = chosen.Count(true);

        // Spread the answers from the decoding sequences to all running ones, from the end: an answer never moves down.
        for (int i = count - 1; i >= 0; i--) _chosen[i] = IsDecoding(_running[i]) && _chosen[--decodes];
        return selected;
    }

    /// <summary>
    /// Gives the sequence a row of up to so many tokens and drafted nodes and returns its cost. Preempts the latest arrivals until there is
    /// a slot for one token; 0 when that was the sequence itself.
    /// </summary>
    private int PlanDecode(Sequence sequence, int mostTokens, int mostNodes)
    {
        int wanted = Math.Min(mostTokens, sequence.MaxLength - sequence.Length);
        int slots;
        while ((slots = _kv.Grow(sequence, sequence.Length + wanted - 1)) < sequence.Length)
        {
            Sequence latest = _running[^1];
            Preempt(latest);
            if (latest == sequence) return 0;
        }
        int tokens = Math.Min(wanted, slots - sequence.Length + 1);
        return AddRow(new PlanRow(sequence, sequence.ComputedLength, 1, tokens, Math.Min(_options.DraftNodes * (tokens - 1), mostNodes)));
    }

    private void PlanPrefills()
    {
        for (int i = 0; i < _running.Count && _budget > 0; i++)
        {
            if (!IsDecoding(_running[i])) PlanPrefill(_running[i]);
        }
    }

    /// <summary>
    /// Takes a chunk as large as the budget and the free blocks allow, perhaps none. Others are preempted only when the step would be
    /// empty: a prompt can wait for decodes to end.
    /// </summary>
    private void PlanPrefill(Sequence sequence)
    {
        int start = sequence.ComputedLength, length = Math.Min(_budget, sequence.Length - start);
        int slots = _kv.Grow(sequence, start + length);
        while (slots <= start && _plan.IsEmpty && _running[^1] != sequence)
        {
            Preempt(_running[^1]);
            slots = _kv.Grow(sequence, start + length);
        }

        length = Math.Min(length, slots - start);
        if (length > 0) AddRow(new PlanRow(sequence, start, length, start + length == sequence.Length ? 1 : 0));
    }

    private void Preempt(Sequence sequence)
    {
        _running.Remove(sequence);
        ReleaseBlocks(sequence, comesBack: true);
        sequence.Status = SequenceStatus.Waiting;
        sequence.Preempted = true;
        _waiting.AddPreempted(sequence);
        _preempted = true;
        _counters.Waiting++;
        _counters.Preemptions++;
    }

    private int AddRow(in PlanRow row)
    {
        _plan.Add(row);
        _budget -= row.Cost;
        return row.Cost;
    }

    /// <summary>A refused request needs no prefix.</summary>
    private int LimitOrForget(Request request)
    {
        try
        {
            return LengthLimitOf(request);
        }
        catch (RequestTooLongException) when (_needs is not null)
        {
            for (int i = 0; i < request.Sampling.N; i++) _needs.Drop(request);
            _kv.ReconsiderCached(request.PromptTokenIds);
            throw;
        }
    }

    private int LengthLimitOf(Request request)
    {
        int prompt = request.PromptTokenIds.Length, context = _options.ContextLength;
        if (prompt >= context)
        {
            throw new RequestTooLongException(
                $"The prompt has {prompt} tokens; the context length of {context} must leave room for one more.", prompt, context - 1);
        }

        int limit = (int)Math.Min(context, prompt + (long)request.Sampling.MaxTokens);
        int room = (int)Math.Min(int.MaxValue, (long)_options.BlockCount * _options.BlockSize + 1); // the last token needs no KV
        if (limit > room)
            throw new RequestTooLongException($"Prompt and limit come to {limit} tokens; the KV cache has room for {room}.", limit, room);
        return limit;
    }

    private static bool IsDecoding(Sequence sequence) => sequence.Length - sequence.ComputedLength == 1;
}
