using KernelForge.Inference;

namespace KernelForge.Tests;

public class EngineHostTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60); // nothing may hang

    [Fact]
    public async Task GenerateAsync_ManyConcurrentCallers_EachGetsWhatGenerateGives()
    {
        Request[] requests = 
        [
            .. Enumerable.Range(0, 60).Select(i => new Request(
                [1, 2, 3, 4, 5, i], new SamplingOptions { MaxTokens = 1 + i % 40, N = 1 + i % 3, Temperature = i % 2 })),
        ];
        using Engine engine = TestEngines.Create();
        IReadOnlyList<Completion> expected = engine.Generate(requests);
        await using var host = new EngineHost(TestEngines.Create(), queueCapacity: 4);

        Task<IReadOnlyList<Completion>>[] callers = [.. requests.Select(request => Task.Run(() => host.CompleteAsync(request)))];
        IReadOnlyList<Completion>[] actual = await Task.WhenAll(callers).WaitAsync(Limit);

        Assert.Equal(expected.Select(Describe), actual.SelectMany(completions => completions).Select(Describe));
        await host.StopAsync().WaitAsync(Limit);
        Assert.Equal(0, host.Counters.BlocksInUse);
    }

    [Fact]
    public async Task GenerateTextAsync_Pieces_JoinToTheText()
    {
        Request request = TestEngines.Fixed(30, 1, 2, 3);
        await using var host = new EngineHost(TestEngines.Create());

        string text = "";
        await foreach (string piece in host.GenerateTextAsync(request)) text += piece;

        Assert.Equal((await host.CompleteAsync(request))[0].Text, text);
        Assert.NotEqual("", text);
    }

    [Fact]
    public async Task GenerateTextAsync_PromptAsText_IsEncoded()
    {
        var sampling = new SamplingOptions { MaxTokens = 30, IgnoreEndToken = true };
        await using var host = new EngineHost(TestEngines.Create());

        string text = "";
        await foreach (string piece in host.GenerateTextAsync("some text", sampling)) text += piece;

        Assert.Equal((await host.CompleteAsync(new Request(TestEngines.Tokenizer.Encode("some text"), sampling)))[0].Text, text);
    }

    [Fact]
    public async Task GenerateTextAsync_NoTokenizerOrSeveralSamples_Throws()
    {
        await using var silent = new EngineHost(TestEngines.Create(withText: false));
        await using var host = new EngineHost(TestEngines.Create());
        var three = new Request([1], new SamplingOptions { N = 3 });

        await Assert.ThrowsAsync<InvalidOperationException>(
            async () => await silent.GenerateTextAsync(TestEngines.Fixed(5, 1)).GetAsyncEnumerator().MoveNextAsync());
        await Assert.ThrowsAsync<ArgumentException>(async () => await host.GenerateTextAsync(three).GetAsyncEnumerator().MoveNextAsync());
    }

    [Fact]
    public async Task GenerateAsync_EnumerationLeft_StopsTheWorkAndFreesTheBlocks()
    {
        using var gate = new Gate();
        await using var host = new EngineHost(TestEngines.Create(wrap: gate.Before));
        gate.Allow(5);

        await foreach (TokenEvent gained in host.GenerateAsync(TestEngines.Fixed(100, 1, 2, 3)))
        {
            if (gained.SequenceId == 0) break; // after the first
        }
        gate.Allow(1000);
        await host.StopAsync().WaitAsync(Limit);

        Assert.Equal((0, 0), (host.Counters.Running, host.Counters.BlocksInUse));
        Assert.InRange(host.Counters.OutputTokens, 1, 6);
    }

    [Fact]
    public async Task GenerateAsync_TokenCancelled_ThrowsAndLeavesOthersRunning()
    {
        using var gate = new Gate();
        await using var host = new EngineHost(TestEngines.Create(wrap: gate.Before));
        using var source = new CancellationTokenSource();
        Task<IReadOnlyList<Completion>> other = host.CompleteAsync(TestEngines.Fixed(50, 4, 5));
        Task<IReadOnlyList<Completion>> cancelled = host.CompleteAsync(TestEngines.Fixed(100, 1, 2, 3), source.Token);
        gate.Allow(3);

        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled.WaitAsync(Limit));
        gate.Allow(1000);

        Assert.Equal(50, (await other.WaitAsync(Limit))[0].TokenIds.Count);
        await host.StopAsync().WaitAsync(Limit);
        Assert.InRange(host.Counters.OutputTokens, 50, 56);
    }

    [Fact]
    public async Task GenerateAsync_CancelledWhileQueued_NeverRuns()
    {
        using var gate = new Gate();
        var secondStep = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Engine engine = TestEngines.Create(
            TestEngines.Options with { MaxSequences = 1 },
            inner => new ObservedRunner(gate.Before(inner), step => { if (step == 2) secondStep.SetResult(); }));
        await using var host = new EngineHost(engine, queueCapacity: 1);
        using var source = new CancellationTokenSource();
        Task<IReadOnlyList<Completion>> running = host.CompleteAsync(TestEngines.Fixed(10, 1));
        Task<IReadOnlyList<Completion>> waiting = host.CompleteAsync(TestEngines.Fixed(10, 2));
        gate.Allow(2);
        await secondStep.Task.WaitAsync(Limit);

        Task<IReadOnlyList<Completion>> queued = host.CompleteAsync(TestEngines.Fixed(10, 3), source.Token);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => queued.WaitAsync(Limit));
        gate.Allow(1000);

        await Task.WhenAll(running, waiting, host.StopAsync()).WaitAsync(Limit);
        Assert.Equal(20, host.Counters.OutputTokens);
    }

    [Fact]
    public async Task GenerateAsync_RunnerFails_EveryCallerGetsTheException()
    {
        using var gate = new Gate();
        Engine engine = TestEngines.Create(wrap: inner => new ObservedRunner(gate.Before(inner), ObservedRunner.FailAt(3)));
        await using var host = new EngineHost(engine, queueCapacity: 2);
        Task<IReadOnlyList<Completion>>[] callers = [.. Enumerable.Range(0, 20).Select(i => host.CompleteAsync(TestEngines.Fixed(50, i)))];
        gate.Allow(1000);

        foreach (Task<IReadOnlyList<Completion>> caller in callers)
        {
            Exception failure = await Assert.ThrowsAnyAsync<Exception>(() => caller.WaitAsync(Limit));
            // Those still at the door get it as the inner exception.
            Assert.Equal("device", (failure as TimeoutException ?? failure.InnerException)!.Message);
        }
        var late = await Assert.ThrowsAsync<InvalidOperationException>(() => host.CompleteAsync(TestEngines.Fixed(5, 1)).WaitAsync(Limit));
        Assert.IsType<TimeoutException>(late.InnerException);
        await host.StopAsync().WaitAsync(Limit);
    }

    [Fact]
    public async Task GenerateAsync_RequestRefused_OnlyItsCallerKnows()
    {
        await using var host = new EngineHost(TestEngines.Create());

        Task<IReadOnlyList<Completion>> tooLong = host.CompleteAsync(new Request(new int[TestEngines.ContextLength]));
        Task<IReadOnlyList<Completion>> outside = host.CompleteAsync(new Request([99]));
        Task<IReadOnlyList<Completion>> good = host.CompleteAsync(TestEngines.Fixed(5, 1));

        await Assert.ThrowsAsync<RequestTooLongException>(() => tooLong.WaitAsync(Limit));
        await Assert.ThrowsAsync<ArgumentException>(() => outside.WaitAsync(Limit));
        Assert.Equal(5, (await good.WaitAsync(Limit))[0].TokenIds.Count);
    }

    [Fact]
    public async Task GenerateAsync_QueueFull_CallersWait()
    {
        int most = 0;
        Engine? engine = null;
        engine = TestEngines.Create(
            TestEngines.Options with { MaxSequences = 1 },
            inner => new ObservedRunner(inner, _ => most = Math.Max(most, engine!.Counters.Waiting)));
        await using var host = new EngineHost(engine, queueCapacity: 2);

        await Task.WhenAll(Enumerable.Range(0, 30).Select(i => host.CompleteAsync(TestEngines.Fixed(3, i)))).WaitAsync(Limit);

        Assert.InRange(most, 1, 2);
    }

    [Fact]
    public async Task StopAsync_RequestsAccepted_RunToTheirEnds()
    {
        using var gate = new Gate();
        await using var host = new EngineHost(TestEngines.Create(wrap: gate.Before));
        Task<IReadOnlyList<Completion>>[] callers = [.. Enumerable.Range(0, 5).Select(i => host.CompleteAsync(TestEngines.Fixed(20, i)))];

        Task stopped = host.StopAsync();
        gate.Allow(1000);

        foreach (Task<IReadOnlyList<Completion>> caller in callers) Assert.Equal(20, (await caller.WaitAsync(Limit))[0].TokenIds.Count);
        await stopped.WaitAsync(Limit);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => host.CompleteAsync(TestEngines.Fixed(5, 1)).WaitAsync(Limit));
    }

    [Fact]
    public async Task DisposeAsync_RequestsRunning_EndAsCancelledAndTheRunnerIsDisposed()
    {
        using var gate = new Gate();
        ObservedRunner? observed = null;
        var host = new EngineHost(TestEngines.Create(wrap: inner => observed = new ObservedRunner(gate.Before(inner), _ => { })));
        Task<IReadOnlyList<Completion>>[] callers = [.. Enumerable.Range(0, 5).Select(i => host.CompleteAsync(TestEngines.Fixed(100, i)))];

        Task disposed = host.DisposeAsync().AsTask();
        gate.Allow(1000);

        await disposed.WaitAsync(Limit);
        foreach (Task<IReadOnlyList<Completion>> caller in callers)
            Assert.Equal(FinishReason.Cancelled, (await caller.WaitAsync(Limit))[0].FinishReason);
        Assert.True(observed!.IsDisposed);
        Assert.Equal(0, host.Counters.Running);
    }

    private static string Describe(Completion completion) =>
        $"{completion.SampleIndex} {completion.FinishReason} {string.Join(' ', completion.TokenIds)} {completion.Text}";

    /// <summary>Lets a runner carry out so many steps and no more.</summary>
    private sealed class Gate : IDisposable
    {
        private readonly SemaphoreSlim _steps = new(0);

        public void Allow(int steps) => _steps.Release(steps);

        public ObservedRunner Before(IStepRunner inner) => new(inner, _ => _steps.Wait());

        public void Dispose() => _steps.Dispose();
    }
}
