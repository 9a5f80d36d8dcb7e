using System.Globalization;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>What drafts came to in the last run of a case; "-" without drafts.</summary>
internal sealed class SpeculationColumn(string name, string legend, Func<SpeculationRun, double> value) : MedianColumn(name, legend)
{
    public static IEnumerable<SpeculationColumn> All { get; } =
    [
        new("Accepted", "Drafted tokens accepted of a sequence in a step, on average where one was drafted", run => Share(run.AcceptedDrafts, run.Drafts)),
        new("Draft %", "Share of the runner's time that proposes tokens", run => 100 * Share(run.Draft.Ticks, TicksOf(run))),
        new("Verify %", "Share of the runner's time that the target's passes take, the choice of tokens included", run => 100 * Share(run.Verify.Ticks, TicksOf(run))),
        new("Other %", "All other time of the runner's steps", run => 100 * Share(run.Other.Ticks, TicksOf(run))),
    ];

    protected override bool Concerns(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.Type.IsAssignableTo(typeof(SpeculationRuns));

    protected override string Value(BenchmarkCase benchmarkCase, double median) =>
        SpeculationRuns.LastOf(benchmarkCase) is { Verify.Ticks: > 0 } run ? value(run).ToString("F2", CultureInfo.InvariantCulture) : "-";

    private static long TicksOf(SpeculationRun run) => (run.Draft + run.Verify + run.Other).Ticks;

    private static double Share(long part, long whole) => whole > 0 ? (double)part / whole : 0;
}
