using System.Text;
using System.Text.Json;
using KernelForge.Inference;
using SimulatedWorkload = KernelForge.Inference.Workload;

namespace KernelForge.Tests;

public class SimulatorTests
{
    public static TheoryData<string, string> WorkloadsAndPolicies
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string workload in SimulatedWorkload.Names)
                foreach (string policy in ServingPolicy.Names) data.Add(workload, policy);
            return data;
        }
    }

    [Theory, MemberData(nameof(WorkloadsAndPolicies))]
    public void Run_AnyWorkloadAndPolicy_ConservesTokensAndEndsEveryRequest(string name, string policy)
    {
        SimulatedWorkload workload = Simulated.Named(name, 96, scale: 0.05);
        List<Request>? known = workload.IsKnownAtStart ? [.. workload.Requests.Select(request => request.Request)] : null;
        SimulationOptions options = Simulated.Options(ServingPolicy.Named(policy).Apply(Simulated.Scheduler(blocks: 80), known));

        SimulationReport report = Simulator.Run(workload, options);

        Assert.Equal(96, report.Requests);
        Assert.Equal(96, report.Completed);
        Assert.Equal(workload.Requests.Sum(Outputs), report.Counters.OutputTokens);
        Assert.Equal(workload.Requests.Sum(Prompts), report.PromptTokens);
        Assert.Equal(report.QueryTokens, report.Counters.PromptTokensComputed + report.Counters.TokensRecomputed + report.Counters.OutputTokens - report.Completed);
        Assert.InRange(report.SavedTokens, report.Counters.PromptTokensReused, report.SharableTokens);
        Assert.InRange(report.Counters.BlocksPeak, 1, 80);
        Assert.All(report.Timeline, sample => Assert.InRange(sample.BlocksInUse, 0, 80 * 1.0001));
        Assert.InRange(report.KvUse, 0.01, 1);
        Assert.InRange(report.Counters.Steps, 1, report.QueryTokens);
        Assert.Equal(report.Counters.Steps, report.Timeline.Sum(sample => sample.Steps), 1e-6);
        Assert.InRange(report.EndToEnd.Max.TotalSeconds, report.TimeToFirstToken.Max.TotalSeconds, report.MakespanSeconds + 1e-6);
    }

    [Fact]
    public void Run_OneRequest_TakesItsSteps()
    {
        SimulationOptions options = Simulated.Options() with { SecondsOf = static shape => 1 };

        SimulationReport report = Simulator.Run(Simulated.Of(Simulated.Request(prompt: 300, output: 3)), options);

        Assert.Equal(4, report.Counters.Steps); // 256 + 44 prompt tokens, then two more of the answer
        Assert.Equal(4, report.MakespanSeconds);
        Assert.Equal(2, report.TimeToFirstToken.P50.TotalSeconds);
        Assert.Equal(1, report.TimeBetweenTokens.Max.TotalSeconds);
        Assert.Equal((1, 2), (report.TimeToFirstToken.Count, report.TimeBetweenTokens.Count));
        Assert.Equal(4, report.EndToEnd.P99.TotalSeconds);
        Assert.Equal(302, report.QueryTokens);
    }

    [Fact]
    public void Run_RequestsFarApart_ClockJumps()
    {
        SimulationReport report = Simulator.Run(Simulated.Of(Simulated.Request(20, 5, arrival: 1000, stream: 2), Simulated.Request(20, 5)), Simulated.Options());

        Assert.InRange(report.MakespanSeconds, 1000, 1001);
        Assert.InRange(report.BusySeconds, 0.01, 0.02);
        Assert.InRange(report.TimeToFirstToken.Max.TotalSeconds, 1e-3, 2e-3);
        Assert.Null(report.KvUseWhileWaiting);
    }

    [Fact]
    public void Run_ArrivalDuringAStep_WaitsForItsEnd()
    {
        SimulationOptions options = Simulated.Options() with { SecondsOf = static shape => 1 };

        SimulationReport report = Simulator.Run(Simulated.Of(Simulated.Request(20, 5), Simulated.Request(20, 1, arrival: 0.25, stream: 2)), options);

        Assert.Equal(1.75, report.TimeToFirstToken.Max.TotalSeconds);
    }

    [Fact]
    public void Run_SameSeed_SameReport()
    {
        string Json(ulong seed)
        {
            SimulationReport report = Simulator.Run(Simulated.Named("two-level", 64, rate: 50, seed: seed), Simulated.Options());
            using var stream = new MemoryStream();
            using (var json = new Utf8JsonWriter(stream)) report.WriteJson(json);
            return Encoding.UTF8.GetString(stream.ToArray());
        }

        Assert.Equal(Json(1), Json(1));
        Assert.NotEqual(Json(1), Json(2));
    }

    [Fact]
    public void Run_FollowUpTurns_ReuseWhatTheTurnBeforeComputed()
    {
        int[] more = new int[40];
        SimulatedTokens.Fill(more, stream: 9);
        var next = new FollowUp(TimeSpan.FromSeconds(5), more, MaxTokens: 30, OutputTokens: 20);
        SimulatedRequest first = new(Simulated.Request(100, 30).Request, TimeSpan.Zero, 30) { Next = next };

        SimulationReport report = Simulator.Run(Simulated.Of(first), Simulated.Options());

        Assert.Equal(2, report.Completed);
        Assert.Equal(100 + 170, report.PromptTokens);
        Assert.Equal(128, report.SavedTokens); // of the 129 with keys and values, full blocks
        Assert.Equal(128, report.SharableTokens);
        Assert.InRange(report.MakespanSeconds, 5, 6);
        Assert.InRange(report.TimeToFirstToken.Max.TotalSeconds, 0, 0.1); // from the arrival of the turn, not from the start
    }

    [Fact]
    public void Run_EnoughMemoryAndWaiting_SavesAllThatCanBe()
    {
        SimulationReport report = Simulator.Run(Simulated.Named("batchllm", 160), Simulated.Options());

        Assert.Equal(160 * 192 - 10 * 192, report.SharableTokens); // 200 tokens of a prefix are 12 full blocks
        Assert.Equal(report.SharableTokens, report.SavedTokens);
    }

    [Theory]
    [InlineData(1.0, 3)] // 1, then 1 + 3 at a time
    [InlineData(0.0, 9)]
    public void Run_Drafts_SaveStepsAsFarAsTheyAreRight(double acceptance, int steps)
    {
        SimulationOptions options = Simulated.Options() with { DraftLength = 3, DraftAcceptance = acceptance };

        SimulationReport report = Simulator.Run(Simulated.Of(Simulated.Request(20, 9)), options);

        Assert.Equal(steps, report.Counters.Steps);
        Assert.Equal(9, report.Counters.OutputTokens);
        Assert.Equal(acceptance == 0 ? 0 : 6, report.AcceptedTokens);
    }

    [Fact]
    public void Run_AcceptanceBetween_IsMet()
    {
        SimulationOptions options = Simulated.Options() with { DraftLength = 1, DraftAcceptance = 0.6 };

        SimulationReport report = Simulator.Run(Simulated.Named("sharegpt", 64), options);

        Assert.InRange((double)report.AcceptedTokens / report.DraftTokens, 0.55, 0.65);
    }

    [Theory]
    [InlineData(2.0, null, null, 1)]
    [InlineData(1.5, null, null, 0)]
    [InlineData(null, 1.0, null, 1)]
    [InlineData(null, 0.5, null, 0)]
    [InlineData(null, null, 4.0, 1)]
    [InlineData(null, null, 3.5, 0)]
    public void Run_Targets_CountThoseThatMeetThem(double? first, double? between, double? timeout, int good)
    {
        SimulationOptions options = Simulated.Options() with
        {
            SecondsOf = static shape => 1,
            FirstTokenTarget = first is { } a ? TimeSpan.FromSeconds(a) : null,
            TimeBetweenTokensTarget = between is { } b ? TimeSpan.FromSeconds(b) : null,
        };

        SimulationReport report = Simulator.Run(Simulated.Of(Simulated.Request(300, 3, timeout: timeout is { } t ? TimeSpan.FromSeconds(t) : null)), options);

        Assert.Equal(1, report.Completed);
        Assert.Equal(good, report.MetTargets);
        Assert.Equal(good / 4.0, report.Goodput);
    }

    [Fact]
    public void Run_RequestThatNeverFits_IsRefusedWithTheReasonAndTheRestRuns()
    {
        SimulatedWorkload workload = Simulated.Of(Simulated.Request(9000, 5), Simulated.Request(20, 5, stream: 2));

        SimulationReport report = Simulator.Run(workload, Simulated.Options());

        Assert.Equal((1, 1), (report.Refused, report.Completed));
        Assert.Contains("9000", report.Refusal);
        Assert.Equal(20, report.PromptTokens);
    }

    [Fact]
    public void Run_Cancelled_Stops()
    {
        using var stop = new CancellationTokenSource();
        int steps = 0;
        SimulationOptions options = Simulated.Options() with { Progress = _ => { if (++steps == 3) stop.Cancel(); } };

        Assert.Throws<OperationCanceledException>(() => Simulator.Run(Simulated.Named("sharegpt", 8), options, stop.Token));
        Assert.Equal(3, steps);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void Run_StepThatTakesNoTime_Throws(double seconds)
    {
        SimulationOptions options = Simulated.Options() with { SecondsOf = shape => seconds };

        Assert.Throws<InvalidOperationException>(() => Simulator.Run(Simulated.Of(Simulated.Request(20, 5)), options));
    }

    [Fact]
    public void Run_OptionsOutOfRange_Throw()
    {
        SimulatedWorkload workload = Simulated.Of(Simulated.Request(20, 5));

        Assert.Throws<ArgumentException>(() => Simulator.Run(workload, Simulated.Options() with { DraftLength = -1 }));
        Assert.Throws<ArgumentException>(() => Simulator.Run(workload, Simulated.Options() with { DraftAcceptance = 1.5 }));
        Assert.Throws<ArgumentException>(() => Simulator.Run(workload, Simulated.Options() with { TimelineSamples = 1 }));
    }

    private static int Outputs(SimulatedRequest request) => request.OutputTokens + TurnsAfter(request).Sum(turn => turn.OutputTokens);

    private static int Prompts(SimulatedRequest request)
    {
        int context = request.Request.PromptTokenIds.Length, sum = context, output = request.OutputTokens;
        foreach (FollowUp turn in TurnsAfter(request))
        {
            context += output + turn.NewTokens.Count;
            sum += context;
            output = turn.OutputTokens;
        }
        return sum;
    }

    private static IEnumerable<FollowUp> TurnsAfter(SimulatedRequest request)
    {
        for (FollowUp? turn = request.Next; turn is not null; turn = turn.Next) yield return turn;
    }
}
