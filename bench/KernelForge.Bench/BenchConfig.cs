using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;

namespace KernelForge.Bench;

/// <summary>
/// Short runs in this process, so that the machine's ceilings can be measured between the cases and nothing has to be built. A row shows the median of seven
/// iterations of about 50 ms.
/// </summary>
internal sealed class BenchConfig : ManualConfig
{
    public BenchConfig()
    {
        AddJob(Job.Default
            .WithToolchain(InProcessEmitToolchain.Instance)
            .WithClock(BenchClock.Instance)
            .WithWarmupCount(4)
            .WithIterationCount(7)
            .WithIterationTime(TimeInterval.FromMilliseconds(50)));
        WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(60));
        AddLogger(ConsoleLogger.Default);
        AddExporter(MarkdownExporter.GitHub);
        AddColumn(TargetMethodColumn.Method);
        AddColumnProvider(DefaultColumnProviders.Params, DefaultColumnProviders.Metrics);
        AddColumn(StatisticColumn.Median, StatisticColumn.Min, BaselineRatioColumn.RatioMean);
        AddColumn([.. OperatorColumn.All, .. PipelineColumn.All, .. SpeculationColumn.All, .. PrefixJobColumn.All, .. EmulatorColumn.All]);
    }
}
