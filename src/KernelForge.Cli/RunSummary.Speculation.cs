using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <content>What drafts came to; nothing of it is shown when none are made.</content>
internal sealed partial record RunSummary
{
    public SpeculationCounters? Speculation { get; init; }

    private void WriteSpeculation(Action<string, string> line)
    {
        if (Speculation is not { } drafts) return;
        double accepted = drafts.Drafted > 0 ? 100.0 * drafts.Accepted / drafts.Drafted : 0;
        line("drafted tokens", $"{drafts.Drafted}; {drafts.Accepted} ({accepted:0.0} %) accepted, {SizeText.Format(drafts.KvBytesMoved)} of keys and values moved");
        if (drafts.Pruned > 0) line("dropped early", $"{drafts.Pruned} of the drafted tokens ({100.0 * drafts.Pruned / drafts.Drafted:0.0} %)");
        string lengths = string.Join(", ", LengthsOf(drafts).ToArray().Select((times, length) => $"{length}: {times}"));
        line("acceptance length", $"{drafts.MeanAcceptanceLength:0.00} on average{(lengths.Length > 0 ? $"; {lengths} times" : "")}");
        double all = (drafts.DraftTime + drafts.VerifyTime + drafts.OtherTime).TotalSeconds;
        line("time of steps", $"draft {Share(drafts.DraftTime):0.0} %, verify {Share(drafts.VerifyTime):0.0} %, other {Share(drafts.OtherTime):0.0} %");

        double Share(TimeSpan time) => all > 0 ? 100 * time.TotalSeconds / all : 0;
    }

    private void WriteSpeculation(Utf8JsonWriter json)
    {
        if (Speculation is not { } drafts) return;
        json.WriteStartObject("speculation");
        json.WriteNumber("steps_with_drafts", drafts.Rounds);
        json.WriteNumber("drafted_tokens", drafts.Drafted);
        json.WriteNumber("accepted_tokens", drafts.Accepted);
        json.WriteNumber("pruned_tokens", drafts.Pruned);
        WriteRounded(json, "mean_acceptance_length", drafts.MeanAcceptanceLength);
        json.WriteStartArray("acceptance_lengths");
        foreach (long times in LengthsOf(drafts)) json.WriteNumberValue(times);
        json.WriteEndArray();
        json.WriteNumber("kv_bytes_moved", drafts.KvBytesMoved);
        WriteRounded(json, "draft_seconds", drafts.DraftTime.TotalSeconds);
        WriteRounded(json, "verify_seconds", drafts.VerifyTime.TotalSeconds);
        WriteRounded(json, "other_seconds", drafts.OtherTime.TotalSeconds);
        json.WriteEndObject();
    }

    /// <summary>Times by acceptance length, without the lengths that never came at its end.</summary>
    private static ReadOnlySpan<long> LengthsOf(SpeculationCounters drafts) => drafts.AcceptanceLengths.TrimEnd(0L);
}
