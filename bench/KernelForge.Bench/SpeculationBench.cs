using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>32 prompts of the demo, so many at the same time, with drafters and without.</summary>
public class SpeculationBench : SpeculationRuns
{
    [Params(1, 4, 8, 16, 32)]
    public int Batch { get; set; } = 1;

    protected override (string Task, int Prompts, int Running) Load => ("", 32, Batch);
}

/// <summary>What drafts come to in each task of the demo: 32 prompts, 8 at the same time.</summary>
public class SpeculationTaskBench : SpeculationRuns
{
    public static IEnumerable<string> Tasks => TicketsDemo.Tasks;

    [ParamsSource(nameof(Tasks))]
    public string Task { get; set; } = "";

    protected override (string Task, int Prompts, int Running) Load => (Task, 32, 8);
}
