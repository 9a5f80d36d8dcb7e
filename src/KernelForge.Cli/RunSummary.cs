using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>What a run did, in numbers. All but <see cref="AlreadyAnswered"/> and <see cref="Lines"/> are of this run alone.</summary>
internal sealed partial record RunSummary
{
    /// <summary>Lines of the input.</summary>
    public int Lines { get; init; }

    /// <summary>Lines that the output had when the run started.</summary>
    public int AlreadyAnswered { get; init; }

    /// <summary>Lines written, errors included.</summary>
    public int Answered { get; init; }

    public required int Errors { get; init; }

    public bool Interrupted { get; init; }

    /// <summary>Tokens of all queued prompts, begun or not when interrupted; a prompt with several samples counts for each of them.</summary>
    public required long PromptTokens { get; init; }

    public required long PromptTokensComputed { get; init; }

    /// <summary>Prompt tokens not computed because another prompt that begins alike had been.</summary>
    public required long PromptTokensShared { get; init; }

    public required long GeneratedTokens { get; init; }

    public required long TokensRecomputed { get; init; }

    public required long Preemptions { get; init; }

    public required long Steps { get; init; }

    public required StepTimes Times { get; init; }

    /// <summary>The whole command, loading included.</summary>
    public double WallSeconds { get; init; }

    public double LoadSeconds { get; init; }

    /// <summary>What computed, and in which type.</summary>
    public string Device { get; init; } = "";

    public int KvBlocks { get; init; }

    public required int KvBlocksPeak { get; init; }

    public int KvBlockSize { get; init; }

    public long KvBytes { get; init; }

    /// <summary>Keys and values that attention read, all layers and steps.</summary>
    public required KvReads KvReads { get; init; }

    /// <summary>Which steps had answers of one length; null when that is not asked for.</summary>
    public EqualLengthDecodes? Groups { get; init; }

    /// <summary>Answers of this run with an expectation, and those that meet it; null without --score.</summary>
    public required (int Compared, int Right)? Score { get; init; }

    public double? Accuracy => Score is { Compared: > 0 } score ? (double)score.Right / score.Compared : null;

    /// <summary>What engine and loop know; the rest is the caller's.</summary>
    public static RunSummary Of(in SchedulerCounters counters, KvReads reads, RunLoop loop) => new()
    {
        Errors = loop.Errors,
        PromptTokens = loop.PromptTokens,
        PromptTokensComputed = counters.PromptTokensComputed,
        PromptTokensShared = counters.PromptTokensReused,
        GeneratedTokens = counters.OutputTokens,
        TokensRecomputed = counters.TokensRecomputed,
        Preemptions = counters.Preemptions,
        Steps = counters.Steps,
        Times = loop.Times,
        KvBlocksPeak = counters.BlocksPeak,
        KvReads = reads,
        Score = loop.Score,
    };

    public void WriteText(TextWriter writer)
    {
        double shared = PromptTokens > 0 ? 100.0 * PromptTokensShared / PromptTokens : 0;
        double peak = KvBlocks > 0 ? 100.0 * KvBlocksPeak / KvBlocks : 0;
        double saved = KvReads.BytesUnshared > 0 ? 100.0 * KvReads.BytesSaved / KvReads.BytesUnshared : 0;
        string errors = Errors > 0 ? $", {Errors} of them with errors" : "";
        string before = AlreadyAnswered > 0 ? $"; {AlreadyAnswered} were there before" : "";
        Line("device", Device);
        Line("lines", $"{Answered} answered{errors}{before}");
        Line("prompt tokens", $"{PromptTokens}; {PromptTokensComputed} computed, {PromptTokensShared} ({shared:0.0} %) shared with other prompts");
        Line("generated tokens", $"{GeneratedTokens}");
        Line("prefill", $"{Times.PrefillTokensPerSecond:0} tokens/s");
        Line("decode", $"{Times.DecodeTokensPerSecond:0} tokens/s");
        Line("KV cache", $"{KvBlocksPeak} of {KvBlocks} blocks ({peak:0} %) at the peak, {SizeText.Format(KvBytes)} in all");
        string reads = SizeText.Format(KvReads.Bytes), less = SizeText.Format(KvReads.BytesSaved);
        Line("attention", $"{reads} of keys and values read, {less} ({saved:0.0} %) saved by prefix groups");
        WriteLatencies(Line);
        WriteSpeculation(Line);
        if (Groups is { } groups) Line("equal lengths", $"in {groups.GroupedSteps} of {groups.Steps} steps with decodes ({100 * groups.GroupingRate:0.0} %)");
        Line("preemptions", Preemptions > 0 ? $"{Preemptions}; {TokensRecomputed} tokens computed again" : "none");
        Line("wall time", $"{WallSeconds:0.00} s, {LoadSeconds:0.00} s of them to load");
        if (Score is { } score) Line("accuracy", $"{Accuracy ?? 0:0.0000}: {score.Right} of {score.Compared} answers are as expected");

        void Line(string name, string text) => writer.WriteLine($"{name,-18}{text}");
    }

    public void WriteJson(Stream output)
    {
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { Indented = true, NewLine = "\n" });
        json.WriteStartObject();
        json.WriteString("device", Device);
        json.WriteNumber("lines", Lines);
        json.WriteNumber("already_answered", AlreadyAnswered);
        json.WriteNumber("answered", Answered);
        json.WriteNumber("errors", Errors);
        json.WriteBoolean("interrupted", Interrupted);
        json.WriteNumber("prompt_tokens", PromptTokens);
        json.WriteNumber("prompt_tokens_computed", PromptTokensComputed);
        json.WriteNumber("prompt_tokens_shared", PromptTokensShared);
        json.WriteNumber("generated_tokens", GeneratedTokens);
        json.WriteNumber("tokens_recomputed", TokensRecomputed);
        json.WriteNumber("preemptions", Preemptions);
        json.WriteNumber("steps", Steps);
        WriteRounded(json, "prefill_seconds", Times.PrefillSeconds);
        WriteRounded(json, "decode_seconds", Times.DecodeSeconds);
        WriteRounded(json, "prefill_tokens_per_second", Times.PrefillTokensPerSecond);
        WriteRounded(json, "decode_tokens_per_second", Times.DecodeTokensPerSecond);
        WriteRounded(json, "wall_seconds", WallSeconds);
        WriteRounded(json, "load_seconds", LoadSeconds);
        json.WriteNumber("kv_blocks", KvBlocks);
        json.WriteNumber("kv_blocks_peak", KvBlocksPeak);
        json.WriteNumber("kv_block_size", KvBlockSize);
        json.WriteNumber("kv_bytes", KvBytes);
        json.WriteNumber("attention_kv_bytes", KvReads.Bytes);
        json.WriteNumber("attention_kv_bytes_without_groups", KvReads.BytesUnshared);
        WriteLatencies(json);
        WriteSpeculation(json);
        if (Groups is { } groups)
        {
            json.WriteNumber("grouped_steps", groups.GroupedSteps);
            WriteRounded(json, "grouping_rate", groups.GroupingRate);
        }
        if (Score is { } score)
        {
            json.WriteNumber("scored", score.Compared);
            json.WriteNumber("right", score.Right);
        }
        if (Accuracy is { } accuracy) json.WriteNumber("accuracy", accuracy);
        else json.WriteNull("accuracy");
        json.WriteEndObject();
    }

    private static void WriteRounded(Utf8JsonWriter json, string name, double value) => json.WriteNumber(name, Math.Round(value, 4));
}
