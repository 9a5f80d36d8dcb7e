using System.Globalization;
using BenchmarkDotNet.Running;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>What the scheduler counted in the last run of a <see cref="PrefixJobBench"/>.</summary>
internal sealed class PrefixJobColumn(string name, string legend, Func<SchedulerCounters, long> count) : MedianColumn(name, legend)
{
    public static IEnumerable<PrefixJobColumn> All { get; } =
    [
        new("Prompt tokens", "Prompt tokens computed", counters => counters.PromptTokensComputed),
        new("Peak blocks", "Most KV blocks in use by running sequences", counters => counters.BlocksPeak),
        new("Steps", "Steps of the run", counters => counters.Steps),
        new("Evictions", "Cached blocks taken for other tokens", counters => counters.Evictions),
        new("Preemptions", "Sequences sent back to the queue", counters => counters.Preemptions),
    ];

    protected override bool Concerns(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.Type == typeof(PrefixJobBench);

    protected override string Value(BenchmarkCase benchmarkCase, double median)
    {
        var policy = (string)benchmarkCase.Parameters.Items.First(item => item.Name == nameof(PrefixJobBench.Policy)).Value;
        return PrefixJobBench.Counters.TryGetValue(policy, out SchedulerCounters counters) ? count(counters).ToString(CultureInfo.InvariantCulture) : "NA";
    }
}
