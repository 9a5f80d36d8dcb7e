using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace KernelForge.Inference;

/// <summary>
/// Runs an engine on a thread of its own for any number of concurrent callers. All members are thread-safe.
/// </summary>
/// <remarks>
/// In: a bounded queue; a caller waits while it is full. Out: one channel per request, not bounded, because a request's output is
/// bounded by its token limit: the engine never waits for a slow reader. Cancelling the token or leaving the enumeration ends the
/// request's sequences and frees their blocks at the next step. When the runner throws, every caller gets that exception and the
/// host accepts no more requests.
/// </remarks>
public sealed class EngineHost : IAsyncDisposable
{
    private readonly Engine _engine;
    private readonly int _readAhead;
    private readonly Channel<HostJob> _inbox;
    private readonly ConcurrentQueue<HostJob> _abandoned = new();
    private readonly Dictionary<long, HostJob> _jobs = []; // by sequence id; the engine's thread only
    private readonly Lock _snapshotLock = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private SchedulerCounters _snapshot;
    private volatile bool _cancelAll;
    private volatile Exception? _failure;

    /// <summary>Starts the thread and owns the engine from now on. At most <paramref name="queueCapacity"/> requests wait to be taken in.</summary>
    public EngineHost(Engine engine, int queueCapacity = 1024)
    {
        if (queueCapacity < 1) throw new ArgumentException($"A queue capacity of 1 or more is expected, not {queueCapacity}.", nameof(queueCapacity));

        _engine = engine;
        _readAhead = queueCapacity;
        _inbox = Channel.CreateBounded<HostJob>(new BoundedChannelOptions(queueCapacity) { SingleReader = true });
        new Thread(Run) { IsBackground = true, Name = "KernelForge engine" }.Start();
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
            lock (_snapshotLock) return _snapshot;
        }
    }

    /// <summary>Loads a model folder as <see cref="Engine.Load"/> does and starts a host for it.</summary>
    public static EngineHost Load(
        string folder, EngineOptions? options = null, Device? device = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default) =>
        new(Engine.Load(folder, options, device, progress, cancellationToken), (options ?? new EngineOptions()).QueueCapacity);

    /// <inheritdoc cref="Engine.CreateRequest(string, SamplingOptions?, string)"/>
    public Request CreateRequest(string prompt, SamplingOptions? sampling = null, string id = "") => Engine.CreateRequest(Tokenizer, prompt, sampling, id);

    /// <summary>
    /// Runs a request and yields what its samples gain, step by step. Throws what <see cref="Engine.Add"/> throws, the runner's exception
    /// when it fails, and <see cref="ObjectDisposedException"/> when the host has stopped.
    /// </summary>
    public async IAsyncEnumerable<TokenEvent> GenerateAsync(Request request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var job = new HostJob(request);
        await SendAsync(job, cancellationToken).ConfigureAwait(false);
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

    private async ValueTask SendAsync(HostJob job, CancellationToken cancellationToken)
    {
        try
        {
            await _inbox.Writer.WriteAsync(job, cancellationToken).ConfigureAwait(false);
        }
        catch (ChannelClosedException)
        {
            if (_failure is { } failure) throw new InvalidOperationException("The engine has failed and accepts no more requests.", failure);
            throw new ObjectDisposedException(nameof(EngineHost));
        }
    }

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
        while (_engine.Counters.Waiting < _readAhead && _inbox.Reader.TryRead(out HostJob? job)) Start(job);
        while (_abandoned.TryDequeue(out HostJob? job)) Cancel(job);
        if (_cancelAll)
        {
            foreach (HostJob job in _jobs.Values.ToHashSet()) Cancel(job);
        }
        IReadOnlyList<TokenEvent> events = _engine.Step();
        lock (_snapshotLock) _snapshot = _engine.Counters;
        foreach (TokenEvent gained in events) Deliver(gained);
    }

    private void Start(HostJob job)
    {
        if (job.IsAbandoned) return;

        try
        {
            job.Sequences = _engine.Add(job.Request);
            foreach (Sequence sequence in job.Sequences) _jobs.Add(sequence.Id, job);
        }
        catch (Exception refusal)
        {
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
        if (++job.EndedCount == job.Sequences.Count) job.Events.Writer.Complete();
    }

    private void Fail(Exception failure)
    {
        _failure = failure;
        _inbox.Writer.TryComplete();
        foreach (HostJob job in _jobs.Values) job.Events.Writer.TryComplete(failure);
        while (_inbox.Reader.TryRead(out HostJob? job)) job.Events.Writer.TryComplete(failure);
    }

    /// <summary>A request on its way through the host.</summary>
    private sealed class HostJob(Request request)
    {
        private volatile bool _isAbandoned;

        public Request Request { get; } = request;

        public Channel<TokenEvent> Events { get; } =
            Channel.CreateUnbounded<TokenEvent>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });

        /// <summary>Nobody reads it any more.</summary>
        public bool IsAbandoned
        {
            get => _isAbandoned;
            set => _isAbandoned = value;
        }

        public IReadOnlyList<Sequence> Sequences { get; set; } = [];

        public int EndedCount { get; set; }
    }
}
