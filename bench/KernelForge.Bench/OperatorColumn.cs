using System.Globalization;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>A rate of an <see cref="OperatorBench"/>, computed from its formulas and the median time.</summary>
internal sealed class OperatorColumn(string name, string legend, Func<OperatorBench, double, double> rate) : MedianColumn(name, legend)
{
    private const string FlopRate = "GFLOP/s";

    public static IEnumerable<OperatorColumn> All { get; } =
    [
        new(FlopRate, "10^9 floating-point operations per second, by the operator's formula", (bench, ns) => bench.Flops / ns),
        new("GB/s", "10^9 bytes per second, every operand counted once", (bench, ns) => bench.Bytes / ns),
        new("FLOP peak", "GFLOP/s: CPU: multiply-adds in registers, for x in BF16 or int8 the native library's products within the caches, the same threads, median over the run; CUDA: F16 tensor cores by clock and data sheet", (bench, _) => bench.Ceiling.GigaFlops),
        new("Byte peak", "GB/s: CPU: reading memory beyond the caches, the same threads; CUDA: a copy within the device, read and written; medians over the run", (bench, _) => bench.Ceiling.GigaBytes),
        new("% FLOP peak", "GFLOP/s over FLOP peak", (bench, ns) => 100 * bench.Flops / ns / bench.Ceiling.GigaFlops),
        new("% Byte peak", "GB/s over Byte peak", (bench, ns) => 100 * bench.Bytes / ns / bench.Ceiling.GigaBytes),
        new("% roofline", "Time at the two peaks (the longer) / time; above 100 where the operands stay in a cache", (bench, ns) =>
            100 * Math.Max(bench.Flops / bench.Ceiling.GigaFlops, bench.Bytes / bench.Ceiling.GigaBytes) / ns),
    ];

    protected override bool Concerns(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.Type.IsAssignableTo(typeof(OperatorBench));

    protected override string Value(BenchmarkCase benchmarkCase, double median) => ColumnName == FlopRate && IsCopy(benchmarkCase)
        ? "-"
        : rate(Instance(benchmarkCase), median).ToString("F1", CultureInfo.InvariantCulture);

    private static bool IsCopy(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.WorkloadMethod.Name == nameof(CudaOperatorBench.DeviceCopy);

    /// <summary>The benchmark with the parameters of a case; formulas need no more.</summary>
    private static OperatorBench Instance(BenchmarkCase benchmarkCase)
    {
        Type type = benchmarkCase.Descriptor.Type;
        var bench = (OperatorBench)Activator.CreateInstance(type)!;
        foreach (var parameter in benchmarkCase.Parameters.Items) type.GetProperty(parameter.Name)!.SetValue(bench, parameter.Value);
        return bench;
    }
}
