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
