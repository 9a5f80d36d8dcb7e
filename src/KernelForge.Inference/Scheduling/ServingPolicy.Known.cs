namespace KernelForge.Inference;

/// <content>The policies there are.</content>
public sealed partial class ServingPolicy
{
    private const int VllmSequences = 256, VllmManySequences = 1024, SglangSequences = 2048;
    private const int StallFreeSequences = 32;
    private const long StallFreeContext = 1024;
    private const double VllmWatermark = 0.99;

    private static ServingPolicy[] Known { get; } =
    [
        new("kernelforge",
            "Ours for jobs known in full: order and lifetime of prefixes by the global prefix plan, admission by the expected peak of KV, memory alone limits "
            + "the sequences, and the token budget is where more tokens a step no longer raise throughput.",
            Offline, plansAhead: true),
        new("kernelforge-online",
            "Ours for requests that come over time: by priority, then deadline, then arrival; admission by the expected peak of KV; memory alone limits the "
            + "sequences; where times of steps are known, a step takes at most five times as long as decoding alone, and turns are kept for the next ones as "
            + "long as that gains.",
            static (bare, _, time) => Online(bare, time)),
        new("vllm",
            "vLLM-like: first come, first served; decodes first, prefill in chunks; full blocks cached, least recently used ones evicted; admission when the "
            + "prompt leaves 1 % of the blocks free; the latest preempted and recomputed; 256 sequences. Assumed: a prefix is shared when it is computed, not "
            + "earlier in the same step.",
            static (bare, _, _) => Vllm(bare, VllmSequences)),
        new("vllm-1024", "vllm with 1024 sequences.", static (bare, _, _) => Vllm(bare, VllmManySequences)),
        new("vllm-v1",
            "vllm with 1024 sequences that computes no prefix twice. Assumed: vLLM V1 shares a prefix in the step that computes it, here it waits for the "
            + "next step and others go before it.",
            static (bare, _, _) => Vllm(bare, VllmManySequences) with { WaitsForPrefixes = true }),
        new("sglang",
            "SGLang-like: longest cached prefix first, as long as at most 128 wait; admission by a share of what may still be generated, from 0.7 down to "
            + "0.1, up again after a preemption; 2048 sequences. Assumed: prefill in chunks mixed with decodes, prompts wait for a prefix that is being "
            + "computed, the latest is preempted where SGLang takes the one with the fewest tokens generated.",
            static (bare, _, _) => bare with
            {
                Order = new LongestPrefixOrder(), Admission = new NewTokenRatioAdmission(), MaxSequences = Math.Min(SglangSequences, bare.TokenBudget),
            }),
        new("static",
            "Static batching: the next batch starts when the last of this one has ended; room for the limit of each is reserved; no prefix cache. Assumed, to "
            + "its advantage: no padding, and sequences that have ended cost nothing.",
            static (bare, _, _) => bare with
            {
                PrefixCache = false, Admission = new StaticBatchAdmission(bare.MaxSequences), TokenBudget = WholePrompts(bare),
            }),
        new("orca",
            "Orca-like: first come, first served; sequences join and leave in every step; prompts are computed whole; room for the limit of each is reserved; "
            + "no prefix cache.",
            static (bare, _, _) => bare with { PrefixCache = false, Admission = new ReserveAllAdmission(), TokenBudget = WholePrompts(bare) }),
        new("fcfs-lru",
            "First come, first served; full blocks cached, least recently used ones evicted; a prefix is shared when it is computed; room for the limit of "
            + "each is reserved.",
            static (bare, _, _) => Fcfs(bare) with { Admission = new ReserveAllAdmission(), WaitsForPrefixes = false }),
        new("fcfs-sorted", "vllm with the prompts sorted, so that those that share a prefix are adjacent; they wait while it is computed.",
            Sorted, plansAhead: true),
        new("reserve-all", "First come, first served; room for the limit of each is reserved.",
            static (bare, _, _) => Fcfs(bare) with { Admission = new ReserveAllAdmission() }),
        new("aggressive", "First come, first served; admission when the tokens known now fit; the latest preempted.",
            static (bare, _, _) => Fcfs(bare) with { Admission = new AggressiveAdmission() }),
        new("past-future", "First come, first served; admission by the expected peak of KV.",
            static (bare, _, _) => Fcfs(bare) with { Admission = new PastFutureAdmission() }),
    ];

    private static string[] KnownNames { get; } = [.. Known.Select(policy => policy.Name)];

    private static SchedulerOptions Fcfs(SchedulerOptions bare) => bare with { Order = new ArrivalOrder() };

    private static SchedulerOptions Vllm(SchedulerOptions bare, int sequences) => Fcfs(bare) with
    {
        Admission = new AggressiveAdmission(VllmWatermark), MaxSequences = sequences, WaitsForPrefixes = false,
    };

    private static SchedulerOptions Sorted(SchedulerOptions bare, IReadOnlyList<Request>? requests, IStepTimeModel? time) => Vllm(bare, VllmSequences) with
    {
        Order = requests is null ? new ArrivalOrder() : new SortedPromptOrder(requests), WaitsForPrefixes = true,
    };

    /// <summary>A decode takes a token of the budget, so more sequences than it has tokens could not step.</summary>
    private static SchedulerOptions Offline(SchedulerOptions bare, IReadOnlyList<Request>? requests, IStepTimeModel? time)
    {
        GlobalPrefixPlan? plan = requests is null || !bare.PrefixCache ? null : GlobalPrefixPlan.Of(requests, bare.BlockSize);
        int budget = Math.Max(bare.TokenBudget, time is null ? 0 : TokenKnee.Of(time));
        return bare with
        {
            Order = plan?.OrderPolicy ?? new ArrivalOrder(),
            PrefixPlan = plan,
            Admission = new PastFutureAdmission(),
            TokenBudget = budget,
            MaxSequences = Math.Min(budget, bare.BlockCount),
            KeepAlive = KeepAlive(bare, time),
        };
    }

    private static SchedulerOptions Online(SchedulerOptions bare, IStepTimeModel? time) => bare with
    {
        Order = new PriorityOrder(),
        Admission = new PastFutureAdmission(),
        MaxSequences = Math.Min(bare.TokenBudget, bare.BlockCount),
        Budget = time is null || bare.Budget is not FixedBudget ? bare.Budget : new LatencyBudget(time, StallFree(time)),
        KeepAlive = KeepAlive(bare, time),
    };

    private static IKeepAlive? KeepAlive(SchedulerOptions bare, IStepTimeModel? time) => bare.KeepAlive ?? (time is null ? null : new GainKeepAlive(time));

    /// <summary>Five times the time of a step that decodes alone: the strict target of Sarathi-Serve.</summary>
    private static TimeSpan StallFree(IStepTimeModel time) =>
        TimeSpan.FromSeconds(5 * time.SecondsOf(new StepLoad(StallFreeSequences, StallFreeSequences * StallFreeContext, 0, 0)));

    /// <summary>A token budget in which every sequence has its whole prompt.</summary>
    private static int WholePrompts(SchedulerOptions bare) =>
        (int)Math.Min(int.MaxValue, Math.Max(bare.TokenBudget, (long)bare.MaxSequences * bare.ContextLength));
}
