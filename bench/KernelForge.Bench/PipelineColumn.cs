using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>Tokens per second of a <see cref="PipelineBench"/>, from what its last run counted and the median time.</summary>
internal sealed class PipelineColumn(string name, string legend, Func<(long Prompt, long Output), long> count) : IColumn
{
    public static IEnumerable<PipelineColumn> All { get; } =
    [
        new("Prompt tok/s", "Tokens of the prompts, shared ones included, per second of the whole run", tokens => tokens.Prompt),
        new("Output tok/s", "Tokens of the answers per second of the whole run", tokens => tokens.Output),
    ];

    public string Id => nameof(PipelineColumn) + name;

    public string ColumnName => name;

    public string Legend => legend;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public bool IsAvailable(Summary summary) => summary.BenchmarksCases.Any(benchmark => benchmark.Descriptor.Type == typeof(PipelineBench));

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        if (benchmarkCase.Parameters.Items.FirstOrDefault(item => item.Value is PipelineLoad)?.Value is not PipelineLoad load) return "-";
        if (summary[benchmarkCase]?.ResultStatistics is not { } statistics || !PipelineBench.Tokens.TryGetValue(load, out var tokens)) return "NA";
        return (count(tokens) / (statistics.Median / 1e9)).ToString("F0", CultureInfo.InvariantCulture);
    }
}
