using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Simulations side by side, for people: a line for each figure, a column for each policy, ratios to the first one.</summary>
internal static class SimulationTable
{
    private const int LabelWidth = 27, ColumnWidth = 21;

    public static void Write(TextWriter writer, IReadOnlyList<SimulationReport> reports, int tokenBudget)
    {
        SimulationReport first = reports[0];
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{first.Workload}: {first.Requests} requests, {first.PromptTokens} prompt tokens; {first.Model} on {first.Device}; {first.KvBlocks} blocks of {first.KvBlockSize}; {tokenBudget} tokens a step"));
        writer.WriteLine();
        var table = new Columns(writer, reports);
        table.Names();
        WriteSpeed(table);
        WriteWork(table);
        WriteMemory(table);
        WriteLatency(table, "first token", report => report.TimeToFirstToken);
        WriteLatency(table, "between tokens", report => report.TimeBetweenTokens);
        WriteLatency(table, "whole request", report => report.EndToEnd);
        if (first.FirstTokenTarget is null && first.TimeBetweenTokensTarget is null) return;
        table.Number("within targets", report => report.MetTargets, "0");
        table.Number("goodput, requests/s", report => report.Goodput, "0.##");
    }

    private static void WriteSpeed(in Columns table)
    {
        table.Number("makespan, s", report => report.MakespanSeconds, "0.00");
        table.Number("requests/s", report => report.RequestsPerSecond, "0.00");
        table.Number("output tokens/s", report => report.OutputTokensPerSecond, "0");
        table.Number("total tokens/s", report => report.TotalTokensPerSecond, "0");
    }

    private static void WriteWork(in Columns table)
    {
        table.Number("steps", report => report.Counters.Steps, "0");
        table.Number("tokens per step", report => report.TokensPerStep, "0");
        table.Number("prompt tokens computed", report => report.Counters.PromptTokensComputed, "0");
        table.Share("prompt tokens saved", report => report.SavedShare);
        table.Share("  at best", report => report.SharableShare);
        table.Share("  with one level at best", report => report.OneLevelShare);
        table.Share("  by BatchLLM's rule", report => report.GreedyShare);
        table.Number("tokens computed again", report => report.Counters.TokensRecomputed, "0");
        table.Share("drafted tokens kept", report => report.DraftTokens > 0 ? (double)report.AcceptedTokens / report.DraftTokens : null);
    }

    private static void WriteMemory(in Columns table)
    {
        table.Share("KV utilisation", report => report.KvUseWhileWaiting);
        table.Words("prefixes are read", report => report.SharesPrefixReads ? "once" : "by each");
        table.Number("KV blocks at the peak", report => report.Counters.BlocksPeak, "0");
        table.Number("preemptions", report => report.Counters.Preemptions, "0");
        table.Number("evictions", report => report.Counters.Evictions, "0");
    }

    private static void WriteLatency(in Columns table, string name, Func<SimulationReport, LatencySummary> latency)
    {
        table.Number($"{name} p50, s", report => latency(report).P50.TotalSeconds, "0.0000");
        table.Number("  p90", report => latency(report).P90.TotalSeconds, "0.0000");
        table.Number("  p99", report => latency(report).P99.TotalSeconds, "0.0000");
        table.Number("  max", report => latency(report).Max.TotalSeconds, "0.0000");
    }

    private readonly record struct Columns(TextWriter Writer, IReadOnlyList<SimulationReport> Reports)
    {
        public void Names() => Line("", report => report.Policy);

        public void Words(string label, Func<SimulationReport, string> words) => Line(label, words);

        /// <summary>A figure, with its ratio to that of the first policy in the columns after it.</summary>
        public void Number(string label, Func<SimulationReport, double> value, string format)
        {
            SimulationReport first = Reports[0];
            double one = value(first);
            Line(label, report => ReferenceEquals(report, first) || one == 0
                ? value(report).ToString(format, CultureInfo.InvariantCulture)
                : string.Create(CultureInfo.InvariantCulture, $"{value(report).ToString(format, CultureInfo.InvariantCulture)} ({value(report) / one:0.00}x)"));
        }

        /// <summary>A share in per cent. The line is left out when no policy has one.</summary>
        public void Share(string label, Func<SimulationReport, double?> share)
        {
            if (Reports.All(report => share(report) is null)) return;
            Line(label, report => share(report) is { } value ? string.Create(CultureInfo.InvariantCulture, $"{100 * value:0.0} %") : "-");
        }

        private void Line(string label, Func<SimulationReport, string> cell) =>
            Writer.WriteLine((label.PadRight(LabelWidth) + string.Concat(Reports.Select(report => cell(report).PadRight(ColumnWidth)))).TrimEnd());
    }
}
