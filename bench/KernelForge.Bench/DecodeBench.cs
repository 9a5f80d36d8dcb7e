using System.Diagnostics;
using BenchmarkDotNet.Attributes;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>Decode steps of 32 sequences behind one prefix, whole model, with prefix groups and without. The context grows by a token a step, alike in all cases.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
[InvocationCount(4), WarmupCount(1), IterationCount(7)]
public class DecodeBench
{
    public const int Sequences = 32;
    private const int OwnTokens = 8, Steps = 64;

    private static readonly EngineOptions Options = new() { KvType = DType.BF16 };
    private static readonly TimeSpan Rehearsal = TimeSpan.FromSeconds(1);

    private Device _device = null!;
    private RandomModel _folder = null!;
    private Transformer _model = null!;
    private Scheduler _scheduler = null!;
    private ModelRunner _runner = null!;

    // The shape of the demo model, and of the 110 M parameters that other engines are compared on.
    public static IEnumerable<ModelShape> Shapes =>
    [
        new("demo-sized", 256, 3, 8, 2, 640, 2048),
        new("110M", 768, 12, 12, 12, 2048, 32_000),
    ];

    [ParamsSource(nameof(Shapes))]
    public ModelShape Model { get; set; } = new("", 0, 0, 0, 0, 0, 0);

    [Params(512, 2048)]
    public int Prefix { get; set; }

    [Params(false, true)]
    public bool PrefixGroups { get; set; }

    [GlobalSetup]
    public void Open()
    {
        _folder = new RandomModel(Model);
        _device = Device.OpenCpu();
        _model = Transformer.Load(_device, _folder.Folder, Options);
        ModelConfig config = _model.Config;
        int blocks = (Prefix + Sequences * (OwnTokens + Steps)) / Options.BlockSize + 2 * Sequences;
        var format = new KvFormat(Options.BlockSize, config.KvHeads, config.HeadDim, Options.KvType!.Value);
        _runner = new ModelRunner(_model, new KvCache(_device, config.Layers, format, blocks), Options.TokenBudget, Sequences, PrefixGroups);
        var options = Options with { KvBlocks = blocks, MaxSequences = Sequences };
        SchedulerOptions numbers = options.ForModel(_model.MaxContext, [], 1, maxTokensPerStep: 1);
        for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < Rehearsal;) // so that all code is compiled as it stays
        {
            _scheduler = Prefilled(numbers);
            for (int step = 0; step < Steps / 2; step++) Step();
        }
        _scheduler = Prefilled(numbers);
    }

    [GlobalCleanup]
    public void Close()
    {
        _runner.Dispose();
        _device.Dispose();
        _folder.Dispose();
    }

    /// <summary>Every sequence gains a token.</summary>
    [Benchmark]
    public void Step()
    {
        StepPlan plan = _scheduler.Plan();
        if (plan.Rows.Length != Sequences || plan.QueryTokens != Sequences)
            throw new InvalidOperationException($"{plan.Rows.Length} rows with {plan.QueryTokens} tokens, expected {Sequences} that decode");
        _scheduler.Commit(plan, _runner.Run(plan));
    }

    private Scheduler Prefilled(SchedulerOptions numbers)
    {
        var scheduler = new Scheduler(numbers);
        var random = new Random(1);
        int[] prefix = Tokens(Prefix);
        List<Sequence> sequences = [];
        for (int s = 0; s < Sequences; s++)
            sequences.AddRange(scheduler.Add(new Request([.. prefix, .. Tokens(OwnTokens)], new SamplingOptions { MaxTokens = Steps, IgnoreEndToken = true })));
        while (sequences.Any(sequence => sequence.OutputLength == 0))
        {
            StepPlan plan = scheduler.Plan();
            scheduler.Commit(plan, _runner.Run(plan));
        }
        return scheduler;

        int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(2, Model.Vocabulary))];
    }
}
