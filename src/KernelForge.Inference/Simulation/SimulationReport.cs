using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>What a simulation came to. Times are simulated seconds.</summary>
public sealed record SimulationReport
{
    /// <summary>Name of the workload.</summary>
    public required string Workload { get; init; }

    /// <summary>Name of the policy, for readers.</summary>
    public string Policy { get; init; } = "";

    /// <summary>Name of the device, for readers.</summary>
    public string Device { get; init; } = "";

    /// <summary>Name of the model, for readers.</summary>
    public string Model { get; init; } = "";

    /// <summary>Requests of the workload, all turns counted.</summary>
    public required int Requests { get; init; }

    /// <summary>Requests that can never run, with the turns that would have followed them.</summary>
    public required int Refused { get; init; }

    /// <summary>Why the first of them was refused; null when none was.</summary>
    public required string? Refusal { get; init; }

    /// <summary>Requests that were answered.</summary>
    public required int Completed { get; init; }

    /// <summary>From the beginning to the end of the last request.</summary>
    public required double MakespanSeconds { get; init; }

    /// <summary>Of these, seconds in which a step ran.</summary>
    public required double BusySeconds { get; init; }

    /// <summary>Prompt tokens of all requests that ran, whether computed or not.</summary>
    public required long PromptTokens { get; init; }

    /// <summary>Of these, tokens that need not be computed when every block is computed once and kept for good.</summary>
    public required long SharableTokens { get; init; }

    /// <summary>Query tokens of all steps, without drafts.</summary>
    public required long QueryTokens { get; init; }

    /// <summary>What the scheduler did.</summary>
    public required SchedulerCounters Counters { get; init; }

    /// <summary>KV blocks there are.</summary>
    public required int KvBlocks { get; init; }

    /// <summary>Token positions in a block.</summary>
    public required int KvBlockSize { get; init; }

    /// <summary>Share of the blocks in use while steps run, on average over the time.</summary>
    public required double KvUse { get; init; }

    /// <summary>The same while any sequence waits; null when none ever did.</summary>
    public required double? KvUseWhileWaiting { get; init; }

    /// <summary>From arrival to the first token.</summary>
    public required LatencySummary TimeToFirstToken { get; init; }

    /// <summary>From one token of a request to the next one.</summary>
    public required LatencySummary TimeBetweenTokens { get; init; }

    /// <summary>From arrival to the last token.</summary>
    public required LatencySummary EndToEnd { get; init; }

    /// <summary><see cref="SimulationOptions.FirstTokenTarget"/>.</summary>
    public required TimeSpan? FirstTokenTarget { get; init; }

    /// <summary><see cref="SimulationOptions.TimeBetweenTokensTarget"/>.</summary>
    public required TimeSpan? TimeBetweenTokensTarget { get; init; }

    /// <summary>Requests that met the targets, and their own timeout.</summary>
    public required int MetTargets { get; init; }

    /// <summary>Tokens drafted.</summary>
    public required long DraftTokens { get; init; }

    /// <summary>Of these, tokens that were accepted.</summary>
    public required long AcceptedTokens { get; init; }

    /// <summary><see cref="SimulationOptions.SharesPrefixReads"/>.</summary>
    public required bool SharesPrefixReads { get; init; }

    /// <summary>What happened when.</summary>
    public required IReadOnlyList<TimelineSample> Timeline { get; init; }

    /// <summary>Requests answered in a second.</summary>
    public double RequestsPerSecond => Rate(Completed);

    /// <summary>Generated tokens per second.</summary>
    public double OutputTokensPerSecond => Rate(Counters.OutputTokens);

    /// <summary>Prompt tokens, computed or not, and generated tokens per second.</summary>
    public double TotalTokensPerSecond => Rate(PromptTokens + Counters.OutputTokens);

    /// <summary>Requests that met the targets per second.</summary>
    public double Goodput => Rate(MetTargets);

    /// <summary>Prompt tokens that were not computed.</summary>
    public long SavedTokens => PromptTokens - Counters.PromptTokensComputed;

    /// <summary>Their share of the prompt tokens.</summary>
    public double SavedShare => Share(SavedTokens);

    /// <summary>The largest share that could be saved.</summary>
    public double SharableShare => Share(SharableTokens);

    /// <summary>What the plan of the whole job says of other ways to share; null where the policy had none.</summary>
    public SharedTokens? Planned { get; init; }

    /// <summary>The largest share with one level of prefixes, chosen exactly.</summary>
    public double? OneLevelShare => Planned is { } shared ? (double)shared.OneLevel / shared.Prompt : null;

    /// <summary>The share with one level of prefixes, chosen by BatchLLM's rule.</summary>
    public double? GreedyShare => Planned is { } shared ? (double)shared.Greedy / shared.Prompt : null;

    /// <summary>Preemptions for each request; above 1 when requests are preempted several times.</summary>
    public double PreemptionRate => Completed > 0 ? (double)Counters.Preemptions / Completed : 0;

    /// <summary>Query tokens of a step, drafts not included, on average.</summary>
    public double TokensPerStep => Counters.Steps > 0 ? (double)QueryTokens / Counters.Steps : 0;

    /// <summary>Writes one JSON object.</summary>
    public void WriteJson(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("workload", Workload);
        json.WriteString("policy", Policy);
        json.WriteString("device", Device);
        json.WriteString("model", Model);
        WriteRequests(json);
        WriteTokens(json);
        WriteKv(json);
        WriteLatency(json, "time_to_first_token_seconds", TimeToFirstToken);
        WriteLatency(json, "time_between_tokens_seconds", TimeBetweenTokens);
        WriteLatency(json, "end_to_end_seconds", EndToEnd);
        WriteTargets(json);
        WriteTimeline(json);
        json.WriteEndObject();
    }

    private void WriteRequests(Utf8JsonWriter json)
    {
        json.WriteNumber("requests", Requests);
        json.WriteNumber("completed", Completed);
        json.WriteNumber("refused", Refused);
        if (Refusal is not null) json.WriteString("refusal", Refusal);
        WriteRounded(json, "makespan_seconds", MakespanSeconds);
        WriteRounded(json, "busy_seconds", BusySeconds);
        WriteRounded(json, "requests_per_second", RequestsPerSecond);
        WriteRounded(json, "output_tokens_per_second", OutputTokensPerSecond);
        WriteRounded(json, "total_tokens_per_second", TotalTokensPerSecond);
        json.WriteNumber("steps", Counters.Steps);
        WriteRounded(json, "tokens_per_step", TokensPerStep);
    }

    private void WriteTokens(Utf8JsonWriter json)
    {
        json.WriteNumber("prompt_tokens", PromptTokens);
        json.WriteNumber("prompt_tokens_computed", Counters.PromptTokensComputed);
        json.WriteNumber("saved_prefill_tokens", SavedTokens);
        WriteRounded(json, "saved_prefill_share", SavedShare);
        WriteRounded(json, "optimal_saved_prefill_share", SharableShare);
        if (OneLevelShare is { } oneLevel) WriteRounded(json, "one_level_saved_prefill_share", oneLevel);
        if (GreedyShare is { } greedy) WriteRounded(json, "greedy_one_level_saved_prefill_share", greedy);
        json.WriteNumber("output_tokens", Counters.OutputTokens);
        json.WriteNumber("tokens_recomputed", Counters.TokensRecomputed);
        json.WriteNumber("draft_tokens", DraftTokens);
        json.WriteNumber("accepted_tokens", AcceptedTokens);
    }

    private void WriteKv(Utf8JsonWriter json)
    {
        json.WriteNumber("kv_blocks", KvBlocks);
        json.WriteNumber("kv_block_size", KvBlockSize);
        json.WriteNumber("kv_blocks_peak", Counters.BlocksPeak);
        WriteRounded(json, "kv_use", KvUse);
        if (KvUseWhileWaiting is { } use) WriteRounded(json, "kv_utilisation", use);
        else json.WriteNull("kv_utilisation");
        json.WriteNumber("preemptions", Counters.Preemptions);
        WriteRounded(json, "preemption_rate", PreemptionRate);
        json.WriteNumber("evictions", Counters.Evictions);
        json.WriteBoolean("shares_prefix_reads", SharesPrefixReads);
    }

    private void WriteTargets(Utf8JsonWriter json)
    {
        if (FirstTokenTarget is { } first) WriteRounded(json, "slo_time_to_first_token_seconds", first.TotalSeconds);
        if (TimeBetweenTokensTarget is { } between) WriteRounded(json, "slo_time_between_tokens_seconds", between.TotalSeconds);
        json.WriteNumber("requests_within_slo", MetTargets);
        WriteRounded(json, "goodput_requests_per_second", Goodput);
    }

    private void WriteTimeline(Utf8JsonWriter json)
    {
        json.WriteStartArray("timeline");
        foreach (TimelineSample sample in Timeline)
        {
            json.WriteStartObject();
            WriteRounded(json, "seconds", sample.Start.TotalSeconds);
            WriteRounded(json, "steps", sample.Steps);
            WriteRounded(json, "prompt_tokens_per_step", sample.PromptTokens);
            WriteRounded(json, "decode_tokens_per_step", sample.DecodeTokens);
            WriteRounded(json, "draft_tokens_per_step", sample.DraftTokens);
            WriteRounded(json, "kv_blocks_in_use", sample.BlocksInUse);
            WriteRounded(json, "running", sample.Running);
            WriteRounded(json, "waiting", sample.Waiting);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteLatency(Utf8JsonWriter json, string name, in LatencySummary latency)
    {
        json.WriteStartObject(name);
        WriteRounded(json, "mean", latency.Mean.TotalSeconds);
        WriteRounded(json, "p50", latency.P50.TotalSeconds);
        WriteRounded(json, "p90", latency.P90.TotalSeconds);
        WriteRounded(json, "p99", latency.P99.TotalSeconds);
        WriteRounded(json, "max", latency.Max.TotalSeconds);
        json.WriteEndObject();
    }

    /// <summary>Six digits after the point: microseconds.</summary>
    private static void WriteRounded(Utf8JsonWriter json, string name, double value) => json.WriteNumber(name, Math.Round(value, 6));

    private double Rate(long count) => MakespanSeconds > 0 ? count / MakespanSeconds : 0;

    private double Share(long tokens) => PromptTokens > 0 ? (double)tokens / PromptTokens : 0;
}
