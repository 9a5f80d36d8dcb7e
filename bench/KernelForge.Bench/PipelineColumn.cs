using System.Globalization;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>Tokens per second: of a <see cref="PipelineBench"/> and of <see cref="SpeculationRuns"/> from what the last run counted, of a <see cref="DecodeBench"/> one for each sequence.</summary>
internal sealed class PipelineColumn(string name, string legend, Func<(long Prompt, long Output), long> count) : MedianColumn(name, legend)
{
    public static IEnumerable<PipelineColumn> All { get; } =
    [
        new("Prompt tok/s", "Tokens of the prompts, shared ones included, per second of the whole run", tokens => tokens.Prompt),
        new("Output tok/s", "Tokens of the answers per second of the whole run, or of a step", tokens => tokens.Output),
    ];

    protected override bool Concerns(BenchmarkCase benchmarkCase) =>
        benchmarkCase.Descriptor.Type == typeof(PipelineBench) || benchmarkCase.Descriptor.Type == typeof(DecodeBench)
        || benchmarkCase.Descriptor.Type.IsAssignableTo(typeof(SpeculationRuns));

    protected override string Value(BenchmarkCase benchmarkCase, double median)
    {
        if (benchmarkCase.Descriptor.Type == typeof(DecodeBench)) return Rate(count((0, DecodeBench.Sequences)), median);
        if (benchmarkCase.Descriptor.Type != typeof(PipelineBench))
            return SpeculationRuns.LastOf(benchmarkCase) is { } run ? Rate(count((run.PromptTokens, run.OutputTokens)), median) : "NA";
        var load = (PipelineLoad)benchmarkCase.Parameters.Items.First(item => item.Value is PipelineLoad).Value;
        return PipelineBench.Tokens.TryGetValue(load, out var tokens) ? Rate(count(tokens), median) : "NA";
    }

    private static string Rate(long tokens, double median) => (tokens / (median / 1e9)).ToString("F0", CultureInfo.InvariantCulture);
}
