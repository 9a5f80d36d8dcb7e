using System.Globalization;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>A rate of an <see cref="OperatorBench"/>, computed from its formulas and the median time.</summary>
internal sealed class OperatorColumn(string name, string legend, Func<OperatorBench, double, double> rate) : MedianColumn(name, legend)
{
    public static IEnumerable<OperatorColumn> All { get; } =
    [
        new("GFLOP/s", "10^9 floating-point operations per second, by the operator's formula", (bench, ns) => bench.Flops / ns),
        new("GB/s", "10^9 bytes per second, every operand counted once", (bench, ns) => bench.Bytes / ns),
        new("FMA peak", "GFLOP/s of a loop of multiply-adds in registers, the same threads, median over the run", (bench, _) => Ceilings.Of(bench.Threads).GigaFlops),
        new("Read peak", "GB/s of a loop that reads memory beyond the caches, the same threads, median over the run", (bench, _) => Ceilings.Of(bench.Threads).GigaBytes),
        new("% roofline", "Time at the two peaks (the longer) / time; above 100 where the operands stay in a cache", (bench, ns) =>
            100 * Math.Max(bench.Flops / Ceilings.Of(bench.Threads).GigaFlops, bench.Bytes / Ceilings.Of(bench.Threads).GigaBytes) / ns),
    ];

    protected override bool Concerns(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.Type.IsAssignableTo(typeof(OperatorBench));

    protected override string Value(BenchmarkCase benchmarkCase, double median) =>
        rate(Instance(benchmarkCase), median).ToString("F1", CultureInfo.InvariantCulture);

    /// <summary>The benchmark with the parameters of a case; formulas need no more.</summary>
    private static OperatorBench Instance(BenchmarkCase benchmarkCase)
    {
        Type type = benchmarkCase.Descriptor.Type;
        var bench = (OperatorBench)Activator.CreateInstance(type)!;
        foreach (var parameter in benchmarkCase.Parameters.Items) type.GetProperty(parameter.Name)!.SetValue(bench, parameter.Value);
        return bench;
    }
}
