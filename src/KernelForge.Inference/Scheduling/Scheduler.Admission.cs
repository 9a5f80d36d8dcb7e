namespace KernelForge.Inference;

/// <content>Which waiting sequences start.</content>
public sealed partial class Scheduler
{
    /// <summary>
    /// Most sequences that a pass leaves waiting for blocks that others compute. It bounds what a step costs when a whole queue waits for one prefix;
    /// what is behind them comes when these have gone.
    /// </summary>
    private const int MostDeferred = 256;

    private readonly IAdmission _admission;
    private readonly BlockShares _shares;
    private KvDemand[] _demands = [];
    private readonly Func<Sequence, long> _keyOf;
    private Sequence? _refused; // the first in line, and nothing has happened since that could let it in

    /// <summary>Starts waiting sequences in order until one is refused or the step is full.</summary>
    private void Admit()
    {
        if (_counters.Waiting == 0 || _refused is not null || !HasRoom) return;

        BeginAdmission();
        int deferred = 0;
        while (HasRoom && deferred < MostDeferred && _waiting.TryPeek(out Sequence candidate))
        {
            if (!_kv.TryFindShared(candidate, out int shared, out int idle))
            {
                _waiting.Defer();
                deferred++;
                continue;
            }
            bool fits = _admission.TryAdmit(DemandOf(candidate, shared, idle));
            if (!fits && _pins.TryEndLeast(Now)) // what waits goes before what may come
            {
                _waiting.EndPass();
                BeginAdmission();
                deferred = 0;
                continue;
            }
            if (!fits && _running.Count > 0)
            {
                if (deferred == 0) _refused = candidate;
                break;
            }

            _waiting.Take();
            Start(candidate);
            PlanPrefill(candidate);
            if (!fits) break; // alone it may run, with others it may not
        }
        _waiting.EndPass();
    }

    /// <summary>Throws when a block in use is counted twice, or is left out by a recount.</summary>
    internal void CheckShares(bool recount)
    {
        if (recount) _shares.Recount(_running);
        _shares.CheckIntegrity(_running, recount && _pins.Count == 0 ? _kv.InUse : null);
    }

    private bool HasRoom => _budget > 0 && _running.Count < _options.MaxSequences;

    private void BeginAdmission()
    {
        if (_options.Order.RekeysWith(_counters.Waiting)) _waiting.Rekey(_keyOf);
        _waiting.StartPass();

        int count = _running.Count, counted = 0, shared = 0;
        foreach (Sequence sequence in _running)
        {
            Expect(sequence, promptSteps: 0);
            shared += sequence.CountedElsewhere;
        }
        if (shared > 0) _shares.Recount(_running);

        if (_demands.Length < count) _demands = new KvDemand[2 * count];
        for (int i = 0; i < count; i++)
        {
            _demands[i] = DemandOf(_running[i]);
            counted += _demands[i].Held;
        }
        _admission.Begin(_demands.AsSpan(0, count), _options.BlockCount - (_kv.InUse - counted));
    }

    /// <summary>Asks how long the sequence will run. All that decode gain a token in every step, unless a selector chooses among them.</summary>
    private void Expect(Sequence sequence, int promptSteps)
    {
        int most = sequence.MaxLength - sequence.Length;
        Request request = sequence.Request;
        sequence.TokensLeft = _admission.TokensLeft(new OutputSoFar(sequence.Id, request.TaskClass, sequence.OutputLength, most, request.ExpectedTokens));
        bool steady = promptSteps < FutureUse.Never && _options.Decodes is AllDecodes;
        sequence.ExpectedEnd = _counters.Steps + (steady ? promptSteps + sequence.TokensLeft - 1 : FutureUse.Never);
    }

    private KvDemand DemandOf(Sequence sequence)
    {
        int count = sequence.Table.Count, known = count * _options.BlockSize >= sequence.Length ? 0 : _kv.BlocksFor(sequence.Length) - count;
        return new KvDemand(count - sequence.CountedElsewhere, known, sequence.FinalBlocks - count)
        {
            Length = sequence.Length,
            MaxLength = sequence.MaxLength,
            CountedElsewhere = sequence.CountedElsewhere,
            TokensLeft = sequence.TokensLeft,
            StepsLeft = (int)(sequence.ExpectedEnd - _counters.Steps),
        };
    }

    private KvDemand DemandOf(Sequence candidate, int shared, int idle)
    {
        int left = Math.Max(0, candidate.Length - shared * _options.BlockSize - _budget);
        Expect(candidate, MostPromptSteps(left));
        (int kept, long keptUntil) = _shares.EndingBefore(candidate.ExpectedEnd, _kv.Found, shared - idle);
        return new KvDemand(idle, _kv.BlocksFor(candidate.Length) - shared, candidate.FinalBlocks - shared)
        {
            Length = candidate.Length,
            MaxLength = candidate.MaxLength,
            CountedElsewhere = shared - idle,
            TokensLeft = candidate.TokensLeft,
            PromptSteps = StepsOf(left, _options.TokenBudget),
            StepsLeft = (int)(candidate.ExpectedEnd - _counters.Steps),
            Kept = kept,
            KeptAfter = kept > 0 ? (int)(keptUntil - _counters.Steps) : 0,
        };
    }

    /// <summary>
    /// Most steps in which so many prompt tokens are computed beside the running sequences: each of those has its token, their drafts have up to half of
    /// what is left, and no other prompt starts before this one is done.
    /// </summary>
    private int MostPromptSteps(int tokens)
    {
        int room = _options.TokenBudget - _running.Count;
        int least = _options.MaxTokensPerStep > 1 ? room / 2 : room;
        return tokens == 0 ? 0 : least <= 0 ? FutureUse.Never : StepsOf(tokens, least);
    }

    private static int StepsOf(int tokens, int tokensPerStep) => (tokens + tokensPerStep - 1) / tokensPerStep;

    private QueueEntry EntryOf(Sequence sequence)
    {
        Request request = sequence.Request;
        return new QueueEntry(sequence.Id, sequence.PromptLength, request.Sampling.MaxTokens)
        {
            Priority = request.Priority,
            Tenant = request.Tenant,
            ArrivedAt = sequence.ArrivedAt,
            Planned = _needs is null ? null : sequence.Planned,
            Waiting = _counters.Waiting,
            Deadline = sequence.Deadline,
            Now = Now,
            ExpectedTokens = request.ExpectedTokens,
            CachedTokens = _options.Order.Rekeys ? _kv.CachedLength(sequence) : 0,
        };
    }

    private void Enqueue(Sequence sequence)
    {
        _waiting.Add(sequence);
        if (_refused is not null && WaitingQueue.Compare(sequence, _refused) < 0) _refused = null;
    }

    private void ReleaseBlocks(Sequence sequence, bool comesBack)
    {
        _shares.End(sequence);
        if (comesBack) _kv.Preempt(sequence);
        else _kv.Release(sequence);
        _refused = null;
    }

    private void Start(Sequence sequence)
    {
        _kv.Attach(sequence);
        _shares.Start(sequence);
        sequence.Status = SequenceStatus.Running;
        sequence.Preempted = false;
        sequence.DraftedLength = 0;
        if (!sequence.WasAdmitted)
        {
            sequence.WasAdmitted = true;
            _started.Add(sequence);
            _pins.End(sequence.Request.Session);
            _options.Order.Started(EntryOf(sequence), sequence.QueueKey);
            sequence.StepsSinceDraft = _stepsSinceDraft;
            sequence.CachedLength = sequence.ComputedLength;
            _counters.PromptTokensReused += sequence.CachedLength;
        }

        int place = _running.Count;
        while (place > 0 && _running[place - 1].Id > sequence.Id) place--;
        _running.Insert(place, sequence);
        _counters.Waiting--;
    }
}
