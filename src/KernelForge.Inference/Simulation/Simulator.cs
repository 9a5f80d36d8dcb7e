namespace KernelForge.Inference;

/// <summary>
/// Runs a workload on the scheduler that engines use, with a runner that has no model and a clock that a cost model moves: what comes out depends on the
/// policies alone. Deterministic.
/// </summary>
/// <remarks>
/// Requests are added when the clock reaches their arrival; a step that runs is not interrupted by them. While nothing runs the clock jumps to the next
/// arrival. Timeouts are goals that are counted; no request is given up.
/// </remarks>
public sealed class Simulator
{
    private readonly SimulationOptions _options;
    private readonly Workload _workload;
    private readonly Scheduler _scheduler;
    private readonly SimulatedRunner _runner;
    private readonly RequestLedger _ledger;
    private readonly SharablePrefixes _sharable;
    private readonly TimelineRecorder _timeline;
    private readonly PriorityQueue<Arrival, (TimeSpan Time, long Number)> _arrivals = new();
    private readonly Dictionary<long, FollowUp> _next = []; // by sequence
    private long _arrivalCount;
    private double _now, _waitingSeconds, _waitingUse, _busySeconds, _busyUse;
    private long _promptTokens, _queryTokens;
    private int _refused;
    private string? _refusal;

    private readonly record struct Arrival(SimulatedRequest Request, int KnownTokens);

    private Simulator(Workload workload, SimulationOptions options)
    {
        (_workload, _options) = (workload, options);
        _runner = new SimulatedRunner(options);
        _scheduler = new Scheduler(options.Scheduler with { EndTokenIds = [SimulatedTokens.End], MaxTokensPerStep = _runner.MaxTokensPerStep });
        _ledger = new RequestLedger(options);
        _sharable = new SharablePrefixes(options.Scheduler.BlockSize);
        _timeline = new TimelineRecorder(options.TimelineSamples);
        foreach (SimulatedRequest request in workload.Requests) Expect(new Arrival(request, 0));
    }

    /// <summary>
    /// Runs until every request has ended. Throws <see cref="ArgumentException"/> when an option is out of range, <see cref="InvalidOperationException"/>
    /// when the scheduler has work and plans nothing although nothing arrives any more, or a step takes no time that could be one.
    /// </summary>
    public static SimulationReport Run(Workload workload, SimulationOptions options, CancellationToken cancellation = default) =>
        new Simulator(workload, options).Run(cancellation);

    private SimulationReport Run(CancellationToken cancellation)
    {
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            AddArrived();
            if (!_scheduler.HasWork && _arrivals.Count == 0) return Report();
            if (!_scheduler.HasWork || !TryStep()) JumpToNextArrival();
        }
    }

    private void Expect(in Arrival arrival) => _arrivals.Enqueue(arrival, (arrival.Request.Arrival, _arrivalCount++));

    private void AddArrived()
    {
        _scheduler.Now = TimeSpan.FromSeconds(_now);
        while (_arrivals.TryPeek(out _, out (TimeSpan Time, long Number) key) && key.Time.TotalSeconds <= _now) Add(_arrivals.Dequeue());
    }

    private void Add(in Arrival arrival)
    {
        SimulatedRequest request = arrival.Request;
        Sequence sequence;
        try
        {
            sequence = _scheduler.Add(request.Request)[0];
        }
        catch (RequestTooLongException refusal)
        {
            _refusal ??= refusal.Message;
            _refused += request.Turns;
            return;
        }
        _runner.Expect(request.OutputTokens);
        _ledger.Arrive(request);
        _sharable.Add(request.Request.PromptTokenIds, arrival.KnownTokens);
        _promptTokens += request.Request.PromptTokenIds.Length;
        if (request.Next is { } next) _next.Add(sequence.Id, next);
    }

    /// <summary>Plans a step and runs it; false when the scheduler waits for something.</summary>
    private bool TryStep()
    {
        StepPlan plan = _scheduler.Plan();
        if (plan.IsEmpty) return false;

        SchedulerCounters counters = _scheduler.Counters; // what is held while the step runs
        StepResult result = _runner.Run(plan);
        double seconds = _options.SecondsOf(_runner.Shape);
        if (!(seconds > 0 && double.IsFinite(seconds)))
            throw new InvalidOperationException($"A step must take a finite time above 0 s, the cost model said {seconds} s for {_runner.Shape}.");

        Book(counters, seconds, _runner.Shape.Tokens - plan.QueryTokens);
        _scheduler.Now = TimeSpan.FromSeconds(_now);
        foreach (TokenGain gain in _scheduler.Commit(plan, result)) Book(gain);
        _options.Progress?.Invoke(_ledger.Ended);
        return true;
    }

    private void Book(in SchedulerCounters counters, double seconds, int draftTokens)
    {
        double use = seconds * counters.BlocksInUse / _options.Scheduler.BlockCount;
        _timeline.Add(_now, seconds, _runner.Shape, draftTokens, counters);
        _queryTokens += _runner.Shape.Tokens - draftTokens;
        (_busySeconds, _busyUse) = (_busySeconds + seconds, _busyUse + use);
        if (counters.Waiting > 0) (_waitingSeconds, _waitingUse) = (_waitingSeconds + seconds, _waitingUse + use);
        _now += seconds;
    }

    private void Book(in TokenGain gain)
    {
        _ledger.Gain(gain, _now);
        if (gain.Sequence.Status == SequenceStatus.Finished && _next.Remove(gain.Sequence.Id, out FollowUp? next)) Continue(gain.Sequence, next);
    }

    /// <summary>The next turn arrives when its author has thought. Its prompt begins with everything that the turn before had.</summary>
    private void Continue(Sequence sequence, FollowUp turn)
    {
        Request before = sequence.Request;
        var request = new Request([.. sequence.Tokens, .. turn.NewTokens], before.Sampling with { MaxTokens = turn.MaxTokens })
        {
            Id = before.Id,
            Priority = before.Priority,
            Tenant = before.Tenant,
            TaskClass = before.TaskClass,
            Timeout = before.Timeout,
            Session = before.Session,
            KeepFor = before.KeepFor,
            ExpectedTokens = Workload.Expected(_workload.Lengths, turn.OutputTokens, turn.MaxTokens),
        };
        TimeSpan arrival = TimeSpan.FromSeconds(_now) + turn.Think;
        Expect(new Arrival(new SimulatedRequest(request, arrival, turn.OutputTokens) { Next = turn.Next }, KnownTokens: sequence.Length - 1));
    }

    private void JumpToNextArrival()
    {
        if (!_arrivals.TryPeek(out _, out (TimeSpan Time, long Number) key))
            throw new InvalidOperationException($"The scheduler has {_scheduler.Counters.Waiting} waiting sequences and plans nothing; nothing arrives any more.");
        _now = Math.Max(_now, key.Time.TotalSeconds);
    }

    private SimulationReport Report()
    {
        SchedulerCounters counters = _scheduler.Counters;
        return new SimulationReport
        {
            Workload = _workload.Name,
            Requests = _workload.RequestCount,
            Refused = _refused,
            Refusal = _refusal,
            Completed = _ledger.Ended,
            MakespanSeconds = _now,
            BusySeconds = _busySeconds,
            PromptTokens = _promptTokens,
            SharableTokens = _sharable.Tokens,
            QueryTokens = _queryTokens,
            Counters = counters,
            KvBlocks = _options.Scheduler.BlockCount,
            KvBlockSize = _options.Scheduler.BlockSize,
            KvUse = _busySeconds > 0 ? _busyUse / _busySeconds : 0,
            KvUseWhileWaiting = _waitingSeconds > 0 ? _waitingUse / _waitingSeconds : null,
            TimeToFirstToken = _ledger.TimeToFirstToken,
            TimeBetweenTokens = _ledger.TimeBetweenTokens,
            EndToEnd = _ledger.EndToEnd,
            FirstTokenTarget = _options.FirstTokenTarget,
            TimeBetweenTokensTarget = _options.TimeBetweenTokensTarget,
            MetTargets = _ledger.Good,
            DraftTokens = _runner.Drafted,
            AcceptedTokens = _runner.Accepted,
            SharesPrefixReads = _options.SharesPrefixReads,
            Timeline = _timeline.Samples(),
        };
    }
}
