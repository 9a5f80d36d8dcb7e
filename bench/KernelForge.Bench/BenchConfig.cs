using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;

namespace KernelForge.Bench;

/// <summary>
/// Short runs in this process, so that the machine's ceilings can be measured between the cases and nothing has to be built. A row shows the median of eleven
/// iterations of about a tenth of a second.
/// </summary>
internal sealed class BenchConfig : ManualConfig
{
    public BenchConfig()
    {
        AddJob(Job.Default
            .WithToolchain(InProcessEmitToolchain.Instance)
            .WithWarmupCount(3)
            .WithIterationCount(11)
            .WithIterationTime(TimeInterval.FromMilliseconds(100)));
        AddLogger(ConsoleLogger.Default);
        AddExporter(MarkdownExporter.GitHub);
        AddColumn(TargetMethodColumn.Method);
        AddColumnProvider(DefaultColumnProviders.Params);
        AddColumn(StatisticColumn.Median, StatisticColumn.Min, BaselineRatioColumn.RatioMean);
        AddColumn([.. OperatorColumn.All]);
    }
}
