using BenchmarkDotNet.Attributes;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>What a step costs beside the model: planning and booking, with a runner that answers at once. Also the managed memory it allocates.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(1), WarmupCount(20)]
public class DecodeStepBench
{
    private const int Steps = 1000;

    private Scheduler _scheduler = null!;

    [Params(1000)]
    public int Sequences { get; set; }

    /// <summary>All sequences past their prompts and past the first growth of the lists.</summary>
    [IterationSetup]
    public void Start()
    {
        const int ContextLength = 4096;
        _scheduler = new Scheduler(new SchedulerOptions
        {
            BlockCount = Sequences * ContextLength / 16,
            ContextLength = ContextLength,
            TokenBudget = 2048,
            MaxSequences = Sequences,
        });
        var sampling = new SamplingOptions { MaxTokens = ContextLength };
        for (int i = 0; i < Sequences; i++) _scheduler.Add(new Request([i, 1, 2, 3], sampling));
        for (int i = 0; i < 50; i++) ConstantRunner.Step(_scheduler);
    }

    [Benchmark(OperationsPerInvoke = Steps)]
    public void PlanAndCommit()
    {
        for (int i = 0; i < Steps; i++) ConstantRunner.Step(_scheduler);
    }
}

/// <summary>The same with draft lengths that adapt: what choosing them, reserving for them and learning from them costs on top.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(1), WarmupCount(20)]
public class DraftStepBench
{
    private const int Steps = 1000;

    private Scheduler _scheduler = null!;

    [Params(1000)]
    public int Sequences { get; set; }

    /// <summary>All sequences past their prompts; drafts pay for those whose tokens are accepted most often.</summary>
    [IterationSetup]
    public void Start()
    {
        const int ContextLength = 4096;
        _scheduler = new Scheduler(new SchedulerOptions
        {
            BlockCount = Sequences * ContextLength / 16,
            ContextLength = ContextLength,
            TokenBudget = 8192,
            MaxSequences = Sequences,
            MaxTokensPerStep = 9,
            DraftLengths = new AdaptiveDraftLength(8),
        })
        {
            StepCost = new StepCost(Step: 20e-3, Token: 10e-6, DraftPass: 1e-3, DraftToken: 1e-6),
        };
        var sampling = new SamplingOptions { MaxTokens = ContextLength };
        for (int i = 0; i < Sequences; i++) _scheduler.Add(new Request([i, 1, 2, 3], sampling));
        for (int i = 0; i < 50; i++) ConstantRunner.Step(_scheduler, mostAccepted: 3);
    }

    [Benchmark(OperationsPerInvoke = Steps)]
    public void PlanAndCommit()
    {
        for (int i = 0; i < Steps; i++) ConstantRunner.Step(_scheduler, mostAccepted: 3);
    }
}

/// <summary>
/// What a step costs with a full cache, by how many run and how many wait: <see cref="Steady"/> while nothing ends, so that the first in line stays
/// refused, <see cref="Turnover"/> where sequences end and others take their places in nearly every step.
/// </summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(1), WarmupCount(3), IterationCount(10)]
public class AdmissionStepBench
{
    private const int Steps = 100, PromptLength = 64, MostTokens = 512, BlockSize = 16;

    private Request[] _requests = [];
    private Scheduler _scheduler = null!;

    [Params("reserve-all", "aggressive", "past-future", "kernelforge")]
    public string Policy { get; set; } = "";

    [Params(64, 1024, 4096)]
    public int Running { get; set; }

    [Params(0, 1000, 100_000)]
    public int Waiting { get; set; }

    [GlobalSetup]
    public void MakeRequests()
    {
        var random = new Random(1);
        _requests = new Request[Running * 4 + Waiting];
        for (int i = 0; i < _requests.Length; i++)
        {
            int length = random.Next(1, MostTokens);
            int[] prompt = [.. Enumerable.Range(0, PromptLength).Select(_ => random.Next(32_000))];
            _requests[i] = new Request(prompt, new SamplingOptions { MaxTokens = length }) { ExpectedTokens = length };
        }
    }

    /// <summary>Sequences of all ages, as many as may run at once.</summary>
    [IterationSetup(Target = nameof(Turnover))]
    public void StartTurnover()
    {
        _scheduler = new Scheduler(OptionsOf(mostSequences: Running));
        foreach (Request request in _requests) _scheduler.Add(request);
        for (int i = 0; i < MostTokens; i++) ConstantRunner.Step(_scheduler);
    }

    /// <summary>Long outputs, so that nothing ends; one more sequence than fits, and those that wait behind it.</summary>
    [IterationSetup(Target = nameof(Steady))]
    public void StartSteady()
    {
        _scheduler = new Scheduler(OptionsOf(mostSequences: Policy == "aggressive" ? Running : 2 * Running));
        var sampling = new SamplingOptions { MaxTokens = MostTokens };
        for (int i = 0; i < Running + Waiting; i++) _scheduler.Add(new Request(_requests[i].PromptTokenIds, sampling));
        for (int i = 0; i < 150; i++) ConstantRunner.Step(_scheduler);
    }

    [Benchmark(OperationsPerInvoke = Steps)]
    public void Steady()
    {
        for (int i = 0; i < Steps; i++) ConstantRunner.Step(_scheduler);
    }

    [Benchmark(OperationsPerInvoke = Steps)]
    public void Turnover()
    {
        for (int i = 0; i < Steps; i++) ConstantRunner.Step(_scheduler);
    }

    private SchedulerOptions OptionsOf(int mostSequences)
    {
        var options = new SchedulerOptions
        {
            BlockCount = Running * ((PromptLength + MostTokens) / BlockSize),
            BlockSize = BlockSize,
            ContextLength = 4096,
            TokenBudget = 8192,
            MaxSequences = mostSequences,
        };
        return Policy switch
        {
            "reserve-all" => options with { Admission = new ReserveAllAdmission() },
            "aggressive" => options with { Admission = new AggressiveAdmission(0.99) },
            "past-future" => options with { Admission = new PastFutureAdmission() },
            _ => ServingPolicy.Named(Policy).Apply(options, _requests) with { MaxSequences = mostSequences },
        };
    }
}

/// <summary>Scheduling of 10,000 requests that share their first 4,096 tokens, from the queue to the end; a time is that of one request.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(1), WarmupCount(1), IterationCount(5)]
public class SharedPrefixBench
{
    private const int Requests = 10_000, Shared = 4096, Own = 32, Outputs = 8;

    private readonly Request[] _requests = new Request[Requests];

    [GlobalSetup]
    public void MakeRequests()
    {
        int[] prompt = [.. Enumerable.Range(0, Shared + Own)];
        for (int i = 0; i < Requests; i++)
        {
            prompt.AsSpan(Shared).Fill(i);
            _requests[i] = new Request(prompt, new SamplingOptions { MaxTokens = Outputs });
        }
    }

    [Benchmark(OperationsPerInvoke = Requests)]
    public long PrefixCache() => Run(prefixCache: true);

    [Benchmark(Baseline = true, OperationsPerInvoke = Requests)]
    public long NoPrefixCache() => Run(prefixCache: false);

    private long Run(bool prefixCache)
    {
        var scheduler = new Scheduler(new SchedulerOptions { BlockCount = 100_000, ContextLength = 8192, PrefixCache = prefixCache });
        foreach (Request request in _requests) scheduler.Add(request);
        while (scheduler.HasWork) ConstantRunner.Step(scheduler);
        return scheduler.Counters.PromptTokensComputed;
    }
}

/// <summary>Gives every row that samples the same token, and of its drafts up to so many, so that only scheduling is left.</summary>
internal static class ConstantRunner
{
    [ThreadStatic]
    private static StepResult? _result;

    public static void Step(Scheduler scheduler, int mostAccepted = 0)
    {
        StepPlan plan = scheduler.Plan();
        StepResult result = _result ??= new StepResult();
        result.Clear();
        for (int row = 0; row < plan.Rows.Length; row++)
        {
            PlanRow planned = plan.Rows[row];
            if (!planned.Samples) continue;
            result.SetDraftLength(row, planned.MaxTokens - 1);
            int tokens = Math.Min(planned.MaxTokens, 1 + row % (mostAccepted + 1));
            for (int i = 0; i < tokens; i++) result.Add(row, tokenId: 7);
        }
        scheduler.Commit(plan, result);
    }
}
