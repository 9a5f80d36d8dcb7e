using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>A column computed from a case and its median time; "-" for the benchmarks that it says nothing about.</summary>
internal abstract class MedianColumn(string name, string legend) : IColumn
{
    public string Id => GetType().Name + name;

    public string ColumnName => name;

    public string Legend => legend;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public bool IsAvailable(Summary summary) => summary.BenchmarksCases.Any(Concerns);

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        if (!Concerns(benchmarkCase)) return "-";
        return summary[benchmarkCase]?.ResultStatistics is { } statistics ? Value(benchmarkCase, statistics.Median) : "NA";
    }

    /// <summary>Whether the column says something about the benchmark.</summary>
    protected abstract bool Concerns(BenchmarkCase benchmarkCase);

    /// <summary>What it says, from the median time in nanoseconds.</summary>
    protected abstract string Value(BenchmarkCase benchmarkCase, double median);
}
