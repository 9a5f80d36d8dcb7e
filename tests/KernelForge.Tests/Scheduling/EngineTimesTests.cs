using KernelForge.Inference;

namespace KernelForge.Tests;

public sealed class EngineTimesTests : IDisposable
{
    private const double StepMs = 10;

    private readonly ManualTime _time = new();
    private Engine? _engine;

    public void Dispose() => _engine?.Dispose();

    [Fact]
    public void Latencies_CountFromArrivalAndBetweenGains()
    {
        Engine engine = Start();
        engine.Add(TestEngines.Fixed(4, 1, 2, 3));
        _time.AdvanceMs(5);
        engine.Step(); // first token at 15 ms
        engine.Step();
        _time.AdvanceMs(20);
        engine.Step();
        engine.Step();

        LatencyCounters times = engine.Latencies;
        Assert.Equal((1, 15), (times.TimeToFirstToken.Count, times.TimeToFirstToken.Max.TotalMilliseconds));
        Assert.Equal((3, 30), (times.TimeBetweenTokens.Count, times.TimeBetweenTokens.Max.TotalMilliseconds));
        Assert.InRange(times.TimeBetweenTokens.P50.TotalMilliseconds, 10, 10.33);
        Assert.Equal(50 / 3.0, times.TimeBetweenTokens.Mean.TotalMilliseconds, 1e-3);
        Assert.False(engine.HasWork);
    }

    [Fact]
    public void Step_DeadlinePassesWhileRunning_EndsKeepsTheTokensAndFreesTheBlocks()
    {
        Engine engine = Start();
        Sequence sequence = engine.Add(WithTimeout(TestEngines.Fixed(50, 1, 2, 3), 35))[0];
        for (int i = 0; i < 4; i++) Assert.Null(Assert.Single(engine.Step()).FinishReason);

        TokenEvent last = Assert.Single(engine.Step());

        Assert.Equal((FinishReason.TimedOut, 0, 4), (last.FinishReason!.Value, last.TokenIds.Count, sequence.OutputLength));
        Assert.Equal(HashRunner.Expected(sequence.Request, 0, TestEngines.ContextLength)[..4], sequence.OutputTokens.ToArray());
        Assert.Equal((0, false, 1L), (engine.Counters.BlocksInUse, engine.HasWork, engine.Latencies.TimedOut));
    }

    [Fact]
    public void Step_DeadlinePassesWhileWaiting_EndsAtTheNextStep()
    {
        Engine engine = Start(TestEngines.Options with { MaxSequences = 1 });
        engine.Add(TestEngines.Fixed(20, 1));
        Sequence[] waiting = [.. Enumerable.Range(0, 3).Select(i => engine.Add(WithTimeout(TestEngines.Fixed(5, 2, i), 15 + 20 * i))[0])];
        for (int i = 0; i < 7; i++) engine.Step(); // until 70 ms; the check of the last step is at 60 ms

        Assert.All(waiting, sequence => Assert.Equal(FinishReason.TimedOut, sequence.FinishReason));
        Assert.Equal((0, 3L), (engine.Counters.Waiting, engine.Latencies.TimedOut));
    }

    [Theory, InlineData(TimeoutPolicy.GoOn, FinishReason.Length), InlineData(TimeoutPolicy.End, FinishReason.TimedOut)]
    public void Generate_DeadlineTooShort_IsThePolicys(TimeoutPolicy timeouts, FinishReason expected)
    {
        Engine engine = Start(timeouts: timeouts);

        Completion completion = engine.Generate([WithTimeout(TestEngines.Fixed(20, 1, 2), 55)])[0];

        Assert.Equal((expected, expected == FinishReason.Length ? 20 : 6), (completion.FinishReason, completion.TokenIds.Count));
        Assert.Equal(TestEngines.Tokenizer.Decode([.. completion.TokenIds]), completion.Text);
    }

    [Fact]
    public void EndHopeless_WaitingOnesThatCannotBeInTime_EndLongBeforeTheirDeadline()
    {
        Engine engine = Start(TestEngines.Options with { MaxSequences = 1 }, TimeoutPolicy.EndHopeless);
        engine.Add(TestEngines.Fixed(30, 1)); // until 300 ms
        Sequence hopeless = Wait(tokens: 50, timeoutMs: 520), possible = Wait(tokens: 50, timeoutMs: 900), unknown = Wait(tokens: null, timeoutMs: 500);
        List<(long Id, double Ms)> ends = [];
        while (engine.HasWork)
        {
            foreach (TokenEvent gained in engine.Step())
                if (gained.FinishReason is not null) ends.Add((gained.SequenceId, _time.GetTimestamp() / 1e4));
        }

        // 50 steps of 10 ms have to start at 20 ms; the step time is known after the first step.
        Assert.Equal(FinishReason.TimedOut, hopeless.FinishReason);
        Assert.InRange(ends.Single(end => end.Id == hopeless.Id).Ms, 20, 50);
        Assert.Equal(FinishReason.Length, possible.FinishReason);
        Assert.Equal(FinishReason.TimedOut, unknown.FinishReason);
        Assert.InRange(ends.Single(end => end.Id == unknown.Id).Ms, 480, 510);

        Sequence Wait(int? tokens, double timeoutMs) => engine.Add(new Request([2, 3], TestEngines.Fixed(50, 1).Sampling)
        {
            ExpectedTokens = tokens, Timeout = TimeSpan.FromMilliseconds(timeoutMs),
        })[0];
    }

    [Fact]
    public void Add_ManyDeadlinesThatAreMet_AreForgotten()
    {
        var deadlines = new Deadlines(TimeoutPolicy.End, TestEngines.Options);
        var scheduler = new Scheduler(TestEngines.Options);
        for (int i = 0; i < 20_000; i++)
        {
            Sequence sequence = scheduler.Add(WithTimeout(TestEngines.Fixed(5, 1), 3_600_000))[0];
            deadlines.Add(sequence);
            if (i % 10 > 0) scheduler.Cancel(sequence);
            scheduler.Plan();
        }

        Assert.InRange(deadlines.Count, 2000, 4000);
    }

    [Fact]
    public void TimeBetweenTokens_EngineMeasuresItsSteps_LongPromptsNoLongerStallStreams()
    {
        // A step takes 2 ms and 0.25 ms for each of its tokens: 512 of them take 130 ms, and 10 ms are asked for.
        SchedulerOptions sizes = TestEngines.Options with { TokenBudget = 512, ContextLength = 1024, BlockCount = 2048 };
        (double with, List<int> answers) = MixedRun(sizes with { Budget = new LatencyBudget(new LearnedStepTime(), TimeSpan.FromMilliseconds(10)) });
        (double without, List<int> plain) = MixedRun(sizes);

        Assert.Equal(plain, answers);
        Assert.InRange(without, 100, 140);
        Assert.InRange(with, 8, 11);
    }

    /// <summary>Streams beside a long prompt now and then; returns P99 of the time between tokens, the first prompts left out, and all tokens.</summary>
    private static (double P99Ms, List<int> Answers) MixedRun(SchedulerOptions options)
    {
        var time = new ManualTime();
        using var engine = new Engine(new Scheduler(options), new TimedRunner(new HashRunner(options.BlockCount, options.BlockSize), time), HashRunner.VocabularySize, null, clock: time);
        List<Sequence> all = [];
        var pauses = new LatencyHistogram();
        double last = 0;
        for (int step = 0; step < 600; step++)
        {
            if (step % 100 == 0) all.AddRange(engine.Add(TestEngines.Fixed(200, step / 100)));
            if (step % 30 == 5) all.AddRange(engine.Add(TestEngines.Fixed(2, [.. Enumerable.Range(0, 700).Select(i => (i * i + step) % 61)])));
            engine.Step();
            double now = time.GetTimestamp() / 1e4;
            if (step > 50) pauses.Add(TimeSpan.FromMilliseconds(now - last));
            last = now;
        }
        while (engine.HasWork) engine.Step();
        return (pauses.Percentile(99).TotalMilliseconds, [.. all.SelectMany(sequence => sequence.OutputTokens.ToArray())]);
    }

    private Engine Start(SchedulerOptions? options = null, TimeoutPolicy timeouts = TimeoutPolicy.End) =>
        _engine = TestEngines.Create(options, inner => new ObservedRunner(inner, _ => _time.AdvanceMs(StepMs)), clock: _time, timeouts: timeouts);

    private static Request WithTimeout(Request request, double milliseconds) =>
        new(request.PromptTokenIds, request.Sampling) { Timeout = TimeSpan.FromMilliseconds(milliseconds) };

    /// <summary>Takes 2 ms and 0.25 ms for each token of a step.</summary>
    private sealed class TimedRunner(IStepRunner inner, ManualTime time) : IStepRunner
    {
        public int MaxTokensPerStep => inner.MaxTokensPerStep;

        public StepResult Run(StepPlan plan)
        {
            time.AdvanceMs(2 + 0.25 * plan.QueryTokens);
            return inner.Run(plan);
        }
    }
}
