using System.Text.Json.Nodes;
using KernelForge.Cli;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class RunSummaryTests
{
    [Fact]
    public void Drafts_AreShownWithTheirShares()
    {
        RunSummary summary = Summary with { Speculation = Drafts };

        string text = TextOf(summary);
        Assert.Contains("drafted tokens    40; 15 (37.5 %) accepted, 2 KiB of keys and values moved", text, StringComparison.Ordinal);
        Assert.Contains("dropped early     10 of the drafted tokens (25.0 %)", text, StringComparison.Ordinal);
        Assert.Contains("acceptance length 1.50 on average; 0: 4, 1: 2, 2: 0, 3: 3, 4: 1 times", text, StringComparison.Ordinal);
        Assert.Contains("time of steps     draft 20.0 %, verify 75.0 %, other 5.0 %", text, StringComparison.Ordinal);
        JsonNode json = JsonOf(summary)["speculation"]!;
        Assert.Equal((7, 40, 15, 1.5), ((int)json["steps_with_drafts"]!, (int)json["drafted_tokens"]!, (int)json["accepted_tokens"]!, (double)json["mean_acceptance_length"]!));
        Assert.Equal(10, (int)json["pruned_tokens"]!);
        Assert.Equal([4, 2, 0, 3, 1], json["acceptance_lengths"]!.AsArray().Select(times => (int)times!));
        Assert.Equal((0.4, 1.5, 0.1, 2048), ((double)json["draft_seconds"]!, (double)json["verify_seconds"]!, (double)json["other_seconds"]!, (int)json["kv_bytes_moved"]!));
    }

    [Fact]
    public void DraftsThatNeverCame_AreNotDividedByZero()
    {
        string text = TextOf(Summary with { Speculation = new SpeculationCounters() });

        Assert.Contains("drafted tokens    0; 0 (0.0 %) accepted", text, StringComparison.Ordinal);
        Assert.Contains("acceptance length 0.00 on average" + Environment.NewLine, text, StringComparison.Ordinal);
        Assert.Contains("draft 0.0 %, verify 0.0 %, other 0.0 %", text, StringComparison.Ordinal);
    }

    [Fact]
    public void NoDrafts_NothingIsSaidOfThem()
    {
        Assert.DoesNotContain("draft", TextOf(Summary), StringComparison.Ordinal);
        Assert.DoesNotContain("acceptance", TextOf(Summary), StringComparison.Ordinal);
        Assert.Null(JsonOf(Summary)["speculation"]);
    }

    [Fact]
    public void GroupsOfEqualLengths_AreCounted()
    {
        var groups = new EqualLengthDecodes(2, 4);
        groups.Choose([5, 5], new bool[2]);
        groups.Choose([5, 6], new bool[2]);
        RunSummary summary = Summary with { Groups = groups };

        Assert.Contains("equal lengths     in 1 of 2 steps with decodes (50.0 %)", TextOf(summary), StringComparison.Ordinal);
        Assert.Equal((1, 0.5), ((int)JsonOf(summary)["grouped_steps"]!, (double)JsonOf(summary)["grouping_rate"]!));
        Assert.Null(JsonOf(Summary)["grouped_steps"]);
    }

    [Fact]
    public void Latencies_AreShownInMilliseconds()
    {
        var pauses = new LatencySummary(30, Ms(11), Ms(10), Ms(20.5), Ms(40), Ms(41.25));
        RunSummary summary = Summary with { Latencies = new LatencyCounters(default, pauses, 0), TimeBetweenTokens = Ms(50) };

        string text = TextOf(summary);
        Assert.Contains("first token       none" + Environment.NewLine, text, StringComparison.Ordinal);
        Assert.Contains("between tokens    10 ms for half, 20.5 ms at 90 %, 40 ms at 99 %, 41.25 ms at most; 50 ms asked for", text, StringComparison.Ordinal);
        JsonNode json = JsonOf(summary)["time_between_tokens_ms"]!;
        Assert.Equal((30, 11, 10, 20.5, 40, 41.25), ((int)json["count"]!, (double)json["mean"]!, (double)json["p50"]!, (double)json["p90"]!, (double)json["p99"]!, (double)json["max"]!));
        Assert.Equal((0, 50), ((int)JsonOf(summary)["time_to_first_token_ms"]!["count"]!, (double)JsonOf(summary)["time_between_tokens_target_ms"]!));
        Assert.Null(JsonOf(Summary)["time_between_tokens_target_ms"]);

        static TimeSpan Ms(double milliseconds) => TimeSpan.FromMilliseconds(milliseconds);
    }

    private static RunSummary Summary { get; } = new()
    {
        Errors = 0,
        PromptTokens = 1,
        PromptTokensComputed = 1,
        PromptTokensShared = 0,
        GeneratedTokens = 1,
        TokensRecomputed = 0,
        Preemptions = 0,
        Steps = 1,
        Times = new StepTimes(),
        KvBlocksPeak = 1,
        KvReads = default,
        Score = null,
    };

    private static SpeculationCounters Drafts
    {
        get
        {
            var drafts = new SpeculationCounters
            {
                Rounds = 7,
                Pruned = 10,
                KvBytesMoved = 2048,
                DraftTime = TimeSpan.FromSeconds(0.4),
                VerifyTime = TimeSpan.FromSeconds(1.5),
                OtherTime = TimeSpan.FromSeconds(0.1),
            };
            foreach (int length in (ReadOnlySpan<int>)[0, 0, 0, 0, 1, 1, 3, 3, 3, 4]) drafts.Count(drafted: 4, length);
            return drafts;
        }
    }

    private static string TextOf(RunSummary summary)
    {
        using var text = new StringWriter();
        summary.WriteText(text);
        return text.ToString();
    }

    private static JsonNode JsonOf(RunSummary summary)
    {
        using var json = new MemoryStream();
        summary.WriteJson(json);
        return JsonNode.Parse(json.ToArray())!;
    }
}
