using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace KernelForge.Inference;

/// <summary>
/// Runs an engine on a thread of its own for any number of concurrent callers. All members are thread-safe.
/// </summary>
/// <remarks>
/// In: a bounded queue; where it is full a caller waits or is rejected (<see cref="EngineHostOptions"/>). All that waits is known to the scheduler, so that its
/// order decides who is next. Out: one channel per request, not bounded, because a request's output is bounded by its token limit: the engine never waits for
/// a slow reader. Cancelling the token or leaving the enumeration ends the request's sequences and frees their blocks at the next step; so does a deadline
/// that passes (<see cref="EngineOptions.Timeouts"/>), which counts from the call, the wait at a full queue included. When the runner throws, every caller
/// gets that exception and the host accepts no more requests.
/// The engine, its scheduler and its policies are used by the host's thread alone; numbers to read are copied after each step.
/// </remarks>
public sealed class EngineHost : IAsyncDisposable
{
    private readonly Engine _engine;
    private readonly QueueSlots _queue;
    private readonly Channel<HostJob> _inbox = Channel.CreateUnbounded<HostJob>(new UnboundedChannelOptions { SingleReader = true });
    private readonly ConcurrentQueue<HostJob> _abandoned = new();
    private readonly Dictionary<long, HostJob> _jobs = []; // by sequence id; the engine's thread only
    private readonly Lock _snapshotLock = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private (SchedulerCounters Counters, KvReads Reads) _snapshot;
    private volatile bool _cancelAll;
    private volatile Exception? _failure;

    /// <summary>Starts the thread and owns the engine from now on. Throws <see cref="ArgumentException"/> when an option is out of range.</summary>
    public EngineHost(Engine engine, EngineHostOptions? options = null)
    {
        options ??= new EngineHostOptions();
        options.Validate();
        _engine = engine;
        _queue = new QueueSlots(options);
        new Thread(Run) { IsBackground = true, Name = "KernelForge engine" }.Start();
    }

    /// <summary>The same with callers that wait while <paramref name="queueCapacity"/> requests do.</summary>
    public EngineHost(Engine engine, int queueCapacity) : this(engine, new EngineHostOptions { QueueCapacity = queueCapacity })
    {
    }

    /// <summary>Turns text into token ids; null when the engine has none.</summary>
    public ITokenizer? Tokenizer => _engine.Tokenizer;

    /// <summary>How the model wants a conversation written; null when it does not say.</summary>
    public ChatTemplate? ChatTemplate => _engine.ChatTemplate;

    /// <summary>What the scheduler had done and held after the last step.</summary>
    public SchedulerCounters Counters
    {
        get
        {
            lock (_snapshotLock) return _snapshot.Counters;
        }
    }

    /// <summary>Keys and values that attention had read after the last step, and how many more without prefix groups.</summary>
    public KvReads KvReads
    {
        get
        {
            lock (_snapshotLock) return _snapshot.Reads;
        }
    }

    /// <summary>How long sequences waited for tokens. The time to the first one counts from the call.</summary>
    public LatencyCounters Latencies => _engine.Latencies;

    /// <summary>Requests that wait in the queue; those that wait for a place in it are not among them.</summary>
    public int Waiting => _queue.Waiting;

    /// <summary>Loads a model folder as <see cref="Engine.Load"/> does and starts a host for it.</summary>
    public static EngineHost Load(
        string folder, EngineOptions? options = null, Device? device = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default) =>
        Load(folder, options, new EngineHostOptions { QueueCapacity = (options ?? new EngineOptions()).QueueCapacity }, device, progress, cancellationToken);

    /// <summary>The same with all that can be said of the queue; <see cref="EngineOptions.QueueCapacity"/> is not used.</summary>
    public static EngineHost Load(
        string folder, EngineOptions? options, EngineHostOptions hostOptions, Device? device = null, IProgress<double>? progress = null,
        CancellationToken cancellationToken = default)
    {
        hostOptions.Validate();
        return new EngineHost(Engine.Load(folder, options, device, progress, cancellationToken), hostOptions);
    }

    /// <inheritdoc cref="Engine.CreateRequest(string, SamplingOptions?, string)"/>
    public Request CreateRequest(string prompt, SamplingOptions? sampling = null, string id = "") => Engine.CreateRequest(Tokenizer, prompt, sampling, id);

    /// <summary>
    /// Runs a request and yields what its samples gain, step by step. Throws what <see cref="Engine.Add"/> throws, the runner's exception
    /// when it fails, <see cref="QueueFullException"/> when the queue is full and does not let wait, and <see cref="ObjectDisposedException"/> when the host has
    /// stopped. A request that times out before it got a place in the queue ends with events of sequence -1.
    /// </summary>
    public async IAsyncEnumerable<TokenEvent> GenerateAsync(Request request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var job = new HostJob(request, _engine.Now);
        if (!await TrySendAsync(job, cancellationToken).ConfigureAwait(false))
        {
            for (int sample = 0; sample < request.Sampling.N; sample++) yield return LateEvent(request, sample);
            yield break;
        }
        try
        {
            await foreach (TokenEvent gained in job.Events.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false)) yield return gained;
        }
        finally
        {
            Abandon(job);
        }
    }

    /// <summary>Runs a prompt and yields its text piece by piece.</summary>
    public IAsyncEnumerable<string> GenerateTextAsync(
        string prompt, SamplingOptions? sampling = null, CancellationToken cancellationToken = default) =>
        GenerateTextAsync(CreateRequest(prompt, sampling), cancellationToken);

    /// <summary>Runs a request with one sample and yields its text piece by piece.</summary>
    public async IAsyncEnumerable<string> GenerateTextAsync(Request request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (request.Sampling.N != 1)
            throw new ArgumentException($"GenerateTextAsync yields one text; expected N = 1, got {request.Sampling.N}.", nameof(request));
        RequireTokenizer();

        await foreach (TokenEvent gained in GenerateAsync(request, cancellationToken).ConfigureAwait(false))
        {
            if (gained.Text.Length > 0) yield return gained.Text;
        }
    }

    /// <summary>Runs a request to its end and returns one completion per sample.</summary>
    public async Task<IReadOnlyList<Completion>> CompleteAsync(Request request, CancellationToken cancellationToken = default)
    {
        var builder = new CompletionBuilder(request);
        await foreach (TokenEvent gained in GenerateAsync(request, cancellationToken).ConfigureAwait(false)) builder.Add(gained);
        return [.. builder.Build()];
    }

    /// <summary>Accepts no more requests and waits until those accepted have ended.</summary>
    public Task StopAsync()
    {
        _queue.Close(new ObjectDisposedException(nameof(EngineHost)));
        _inbox.Writer.TryComplete();
        return _ended.Task;
    }

    /// <summary>Cancels what is left, whose callers get a last event with <see cref="FinishReason.Cancelled"/>, and disposes the engine.</summary>
    public async ValueTask DisposeAsync()
    {
        _cancelAll = true;
        await StopAsync().ConfigureAwait(false);
    }

    private ITokenizer RequireTokenizer() => Tokenizer ?? throw new InvalidOperationException("GenerateTextAsync needs an engine with a tokenizer.");

    /// <summary>Sends a job once there is a place in the queue. False when its deadline passed first.</summary>
    private async ValueTask<bool> TrySendAsync(HostJob job, CancellationToken cancellationToken)
    {
        if (job.Request.Timeout is not { } timeout || _engine.Timeouts == TimeoutPolicy.GoOn)
        {
            await _queue.EnterAsync(job.Request.Tenant, cancellationToken).ConfigureAwait(false);
            Send(job);
            return true;
        }

        using var deadline = new CancellationTokenSource(timeout > TimeSpan.Zero ? timeout : TimeSpan.Zero, _engine.Clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await _queue.EnterAsync(job.Request.Tenant, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
        Send(job);
        return true;
    }

    private void Send(HostJob job)
    {
        if (_inbox.Writer.TryWrite(job)) return;
        _queue.Leave(job.Request.Tenant);
        throw _failure is { } failure ? FailureFor(failure) : new ObjectDisposedException(nameof(EngineHost));
    }

    private static InvalidOperationException FailureFor(Exception failure) => new("The engine has failed and accepts no more requests.", failure);

    private static TokenEvent LateEvent(Request request, int sample) =>
        new() { SequenceId = -1, Request = request, SampleIndex = sample, FinishReason = FinishReason.TimedOut };

    private void Abandon(HostJob job)
    {
        if (job.Events.Reader.Completion.IsCompleted) return; // it ran to its end

        job.IsAbandoned = true;
        _abandoned.Enqueue(job);
    }

    private void Run()
    {
        try
        {
            while (_engine.HasWork || WaitForJobs()) RunStep();
        }
        catch (Exception failure) // whatever the runner throws belongs to the callers
        {
            Fail(failure);
        }
        End();
    }

    private void End()
    {
        try
        {
            _engine.Dispose();
            _ended.SetResult();
        }
        catch (Exception failure) // reported by StopAsync and DisposeAsync
        {
            _ended.SetException(failure);
        }
    }

    /// <summary>Blocks until a request arrives; false when none will.</summary>
    private bool WaitForJobs() => _inbox.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult();

    private void RunStep()
    {
        while (_inbox.Reader.TryRead(out HostJob? job)) Start(job);
        while (_abandoned.TryDequeue(out HostJob? job)) Cancel(job);
        if (_cancelAll)
        {
            foreach (HostJob job in _jobs.Values.ToHashSet()) Cancel(job);
        }
        IReadOnlyList<TokenEvent> events = _engine.Step();
        lock (_snapshotLock) _snapshot = (_engine.Counters, _engine.KvReads);
        foreach (Sequence sequence in _engine.Started) LeaveQueue(_jobs[sequence.Id]);
        foreach (TokenEvent gained in events) Deliver(gained);
    }

    private void Start(HostJob job)
    {
        if (job.IsAbandoned)
        {
            LeaveQueue(job);
            return;
        }

        try
        {
            job.Sequences = _engine.AddArrived(job.Request, job.ArrivedAt);
            foreach (Sequence sequence in job.Sequences) _jobs.Add(sequence.Id, job);
        }
        catch (Exception refusal)
        {
            LeaveQueue(job);
            job.Events.Writer.Complete(refusal);
            if (refusal is not ArgumentException) throw; // not the request's fault: the engine is broken
        }
    }

    private void Cancel(HostJob job)
    {
        foreach (Sequence sequence in job.Sequences)
        {
            if (_engine.Cancel(sequence) is { } last) Deliver(last);
        }
    }

    private void Deliver(TokenEvent gained)
    {
        HostJob job = _jobs[gained.SequenceId];
        job.Events.Writer.TryWrite(gained);
        if (gained.FinishReason is null) return;

        _jobs.Remove(gained.SequenceId);
        if (++job.EndedCount < job.Sequences.Count) return;
        LeaveQueue(job);
        job.Events.Writer.Complete();
    }

    /// <summary>Its place is free once its first sequence starts, or none will.</summary>
    private void LeaveQueue(HostJob job)
    {
        if (job.HasLeft) return;
        job.HasLeft = true;
        _queue.Leave(job.Request.Tenant);
    }

    private void Fail(Exception failure)
    {
        _failure = failure;
        _queue.Close(FailureFor(failure));
        _inbox.Writer.TryComplete();
        foreach (HostJob job in _jobs.Values) job.Events.Writer.TryComplete(failure);
        while (_inbox.Reader.TryRead(out HostJob? job)) job.Events.Writer.TryComplete(failure);
    }
}
