using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <content>How long answers waited for tokens.</content>
internal sealed partial record RunSummary
{
    public LatencyCounters Latencies { get; init; }

    /// <summary>What was asked for; null when nothing was.</summary>
    public TimeSpan? TimeBetweenTokens { get; init; }

    private void WriteLatencies(Action<string, string> line)
    {
        string target = TimeBetweenTokens is { } asked ? $"; {asked.TotalMilliseconds:0.##} ms asked for" : "";
        line("first token", TextOf(Latencies.TimeToFirstToken));
        line("between tokens", TextOf(Latencies.TimeBetweenTokens) + target);
    }

    private void WriteLatencies(Utf8JsonWriter json)
    {
        Write(json, "time_to_first_token_ms", Latencies.TimeToFirstToken);
        Write(json, "time_between_tokens_ms", Latencies.TimeBetweenTokens);
        if (TimeBetweenTokens is { } asked) WriteRounded(json, "time_between_tokens_target_ms", asked.TotalMilliseconds);
    }

    private static string TextOf(in LatencySummary times) => times.Count == 0
        ? "none"
        : $"{times.P50.TotalMilliseconds:0.##} ms for half, {times.P90.TotalMilliseconds:0.##} ms at 90 %, {times.P99.TotalMilliseconds:0.##} ms at 99 %, {times.Max.TotalMilliseconds:0.##} ms at most";

    private static void Write(Utf8JsonWriter json, string name, in LatencySummary times)
    {
        json.WriteStartObject(name);
        json.WriteNumber("count", times.Count);
        WriteRounded(json, "mean", times.Mean.TotalMilliseconds);
        WriteRounded(json, "p50", times.P50.TotalMilliseconds);
        WriteRounded(json, "p90", times.P90.TotalMilliseconds);
        WriteRounded(json, "p99", times.P99.TotalMilliseconds);
        WriteRounded(json, "max", times.Max.TotalMilliseconds);
        json.WriteEndObject();
    }
}
