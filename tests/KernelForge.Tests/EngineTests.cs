using KernelForge.Inference;

namespace KernelForge.Tests;

public class EngineTests
{
    [Theory, InlineData(1), InlineData(4)]
    public void Generate_ManyRequests_GivesTokensAndTextInOrder(int maxTokensPerStep)
    {
        using Engine engine = TestEngines.Create(TestEngines.Options with { MaxTokensPerStep = maxTokensPerStep });
        Request[] requests = 
        [
            .. Enumerable.Range(0, 30).Select(i => new Request(
                [1, 2, 3, 4, 5, i], new SamplingOptions { MaxTokens = 1 + i, N = 1 + i % 2, Temperature = i % 3 })),
        ];

        IReadOnlyList<Completion> completions = engine.Generate(requests);

        Assert.Equal(
            requests.SelectMany(request => Enumerable.Repeat(request, request.Sampling.N)), completions.Select(completion => completion.Request));
        foreach (Completion completion in completions)
        {
            List<int> expected = HashRunner.Expected(completion.Request, completion.SampleIndex, TestEngines.ContextLength);
            bool stopped = expected[^1] == HashRunner.EndToken;
            Assert.Equal(expected, completion.TokenIds);
            Assert.Equal(stopped ? FinishReason.Stop : FinishReason.Length, completion.FinishReason);
            Assert.Equal(TestEngines.Tokenizer.Decode(expected.Take(expected.Count - (stopped ? 1 : 0)).ToArray()), completion.Text);
        }
        Assert.Contains(completions, completion => completion.FinishReason == FinishReason.Stop);
        Assert.Contains(completions, completion => completion.CachedTokens == 4);
    }

    // Stop strings that begin inside one token and end inside another; where they fall in a gain of four must not matter.
    [Theory, InlineData(1, false), InlineData(4, false), InlineData(1, true), InlineData(4, true)]
    public void Step_StopStringAcrossTokens_CutsTextAndTokens(int maxTokensPerStep, bool include)
    {
        Request probe = TestEngines.Fixed(40, 9, 8, 7);
        int[] tokens = [.. HashRunner.Expected(probe, 0, TestEngines.ContextLength)];
        string text = TestEngines.Tokenizer.Decode(tokens);
        for (int at = 3; at < 20; at++)
        {
            string stop = text.Substring(at, 4);
            int start = text.IndexOf(stop, StringComparison.Ordinal);
            int kept = Enumerable.Range(1, tokens.Length).First(count => CertainText(tokens[..count]).Contains(stop, StringComparison.Ordinal));
            using Engine engine = TestEngines.Create(TestEngines.Options with { MaxTokensPerStep = maxTokensPerStep });
            SamplingOptions sampling = probe.Sampling with { StopStrings = ["never", stop], IncludeStopString = include, LogProbs = 0 };

            Completion completion = engine.Generate([new Request(probe.PromptTokenIds, sampling)])[0];

            Assert.Equal(text[..(include ? start + stop.Length : start)], completion.Text);
            Assert.Equal(tokens[..kept], completion.TokenIds);
            Assert.Equal(kept, completion.LogProbs!.Count);
            Assert.Equal(FinishReason.Stop, completion.FinishReason);
            Assert.Equal(0, engine.Counters.BlocksInUse);
        }
    }

    [Fact]
    public void Step_StopStringAtTheTokenLimit_FinishesAsStopped()
    {
        Request probe = TestEngines.Fixed(12, 9, 8, 7);
        string text = TestEngines.Tokenizer.Decode(HashRunner.Expected(probe, 0, TestEngines.ContextLength).ToArray());
        using Engine engine = TestEngines.Create();

        Completion completion = engine.Generate([new Request(probe.PromptTokenIds, probe.Sampling with { StopStrings = [text[^3..]] })])[0];

        Assert.Equal(FinishReason.Stop, completion.FinishReason);
    }

    [Fact]
    public void Step_TextThatOnlyBeginsAStopString_IsHeldBackAndComesInTheEnd()
    {
        Request probe = TestEngines.Fixed(12, 9, 8, 7);
        string text = TestEngines.Tokenizer.Decode(HashRunner.Expected(probe, 0, TestEngines.ContextLength).ToArray());
        using Engine engine = TestEngines.Create();
        engine.Add(new Request(probe.PromptTokenIds, probe.Sampling with { StopStrings = [text + "!"] }));

        List<TokenEvent> events = [];
        while (engine.HasWork) events.AddRange(engine.Step());

        Assert.All(events.SkipLast(1), gained => Assert.Equal("", gained.Text));
        Assert.Equal(text, events[^1].Text);
    }

    [Fact]
    public void Step_StopStringBeforeMinTokens_GoesOn()
    {
        Request probe = TestEngines.Fixed(20, 9, 8, 7);
        string text = TestEngines.Tokenizer.Decode(HashRunner.Expected(probe, 0, TestEngines.ContextLength).ToArray());
        using Engine engine = TestEngines.Create();

        SamplingOptions sampling = probe.Sampling with { MinTokens = 20, StopStrings = [text[..2]] };

        Completion completion = engine.Generate([new Request(probe.PromptTokenIds, sampling)])[0];

        Assert.Equal((20, text), (completion.TokenIds.Count, completion.Text));
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Step_StopToken_StaysInTheIdsAndItsTextOnlyIfAskedFor(bool include)
    {
        int[] tokens = [.. HashRunner.Expected(TestEngines.Fixed(20, 9, 8, 7), 0, TestEngines.ContextLength)];
        int stop = tokens.First(id => id is >= 5 and < 57), kept = Array.IndexOf(tokens, stop) + 1;
        using Engine engine = TestEngines.Create();

        var sampling = new SamplingOptions { StopTokenIds = [stop], IncludeStopString = include };

        Completion completion = engine.Generate([new Request([9, 8, 7], sampling)])[0];

        Assert.Equal(tokens[..kept], completion.TokenIds);
        Assert.Equal(TestEngines.Tokenizer.Decode(tokens.AsSpan(0, include ? kept : kept - 1)), completion.Text);
    }

    [Fact]
    public void Cancel_RunningSequence_FreesItsBlocksAndReturnsTheLastEvent()
    {
        using Engine engine = TestEngines.Create();
        Sequence sequence = engine.Add(TestEngines.Fixed(50, 1, 2, 3))[0];
        engine.Step();
        Assert.True(engine.Counters.BlocksInUse > 0);

        TokenEvent? last = engine.Cancel(sequence);

        Assert.Equal(FinishReason.Cancelled, last!.FinishReason);
        Assert.Empty(last.TokenIds);
        Assert.Equal(0, engine.Counters.BlocksInUse);
        Assert.False(engine.HasWork);
        Assert.Null(engine.Cancel(sequence));
    }

    [Fact]
    public void Generate_Cancelled_ThrowsAndLeavesTheEngineIdle()
    {
        using var source = new CancellationTokenSource();
        using Engine engine = TestEngines.Create(wrap: runner => new ObservedRunner(runner, step => { if (step == 3) source.Cancel(); }));

        Assert.Throws<OperationCanceledException>(() => engine.Generate([TestEngines.Fixed(50, 1), TestEngines.Fixed(50, 2)], source.Token));

        Assert.False(engine.HasWork);
        Assert.Equal(0, engine.Counters.BlocksInUse);
        Assert.Equal(3, engine.Counters.Steps);
        Assert.Single(engine.Generate([TestEngines.Fixed(5, 1)]));
    }

    [Fact]
    public void Generate_RunnerFails_PassesItOnAndLeavesTheEngineIdle()
    {
        using Engine engine = TestEngines.Create(wrap: runner => new ObservedRunner(runner, ObservedRunner.FailAt(3)));

        Assert.Throws<TimeoutException>(() => engine.Generate([TestEngines.Fixed(50, 1)]));

        Assert.False(engine.HasWork);
        Assert.Equal(0, engine.Counters.BlocksInUse);
    }

    [Fact]
    public void Generate_EngineBusy_Throws()
    {
        using Engine engine = TestEngines.Create();
        engine.Add(TestEngines.Fixed(5, 1));

        Assert.Throws<InvalidOperationException>(() => engine.Generate([]));
    }

    [Fact]
    public void Add_IdsOutsideTheVocabulary_ThrowNamingThem()
    {
        using Engine engine = TestEngines.Create();

        Assert.Contains("token id 61", Assert.Throws<ArgumentException>(() => engine.Add(new Request([1, 61]))).Message, StringComparison.Ordinal);
        Assert.Contains("token id -1", Assert.Throws<ArgumentException>(() => engine.Add(new Request([-1]))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => engine.Add(new Request([1], new SamplingOptions { StopTokenIds = [61] })));
        var bias = new Dictionary<int, float> { [61] = 1 };
        Assert.Throws<ArgumentException>(() => engine.Add(new Request([1], new SamplingOptions { LogitBias = bias })));
        Assert.False(engine.HasWork);
    }

    [Fact]
    public void Add_StopStringsWithoutATokenizer_Throws()
    {
        using Engine engine = TestEngines.Create(withText: false);

        Assert.Throws<ArgumentException>(() => engine.Add(new Request([1], new SamplingOptions { StopStrings = ["x"] })));
        Assert.Equal("", engine.Generate([TestEngines.Fixed(5, 1)])[0].Text);
    }

    [Fact]
    public void Constructor_SchedulerCountsOnMoreTokensThanTheRunnerGives_Throws() => Assert.Throws<ArgumentException>(
        () => new Engine(new Scheduler(TestEngines.Options with { MaxTokensPerStep = 2 }), new HashRunner(256, 4), HashRunner.VocabularySize));

    [Fact]
    public void Dispose_DisposesTheRunner()
    {
        ObservedRunner? observed = null;
        Engine engine = TestEngines.Create(wrap: runner => observed = new ObservedRunner(runner, _ => { }));

        engine.Dispose();

        Assert.True(observed!.IsDisposed);
    }

    /// <summary>Text of the tokens without a last character that is not complete.</summary>
    private static string CertainText(int[] tokens)
    {
        var decoder = new IncrementalDecoder(TestEngines.Tokenizer);
        return string.Concat(tokens.Select(decoder.Append));
    }
}
