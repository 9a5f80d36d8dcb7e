using System.Diagnostics;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>Sequences of a random model on the CPU that have read their prompts and decode, a token each a step, behind one prefix.</summary>
internal sealed class DecodeRun : IDisposable
{
    private const int Steps = 64;

    private static readonly EngineOptions Options = new() { KvType = DType.BF16 };
    private static readonly TimeSpan Rehearsal = TimeSpan.FromSeconds(1);

    private readonly int _sequences, _prefix, _ownTokens, _vocabulary;
    private readonly RandomModel _folder;
    private readonly Device _device;
    private readonly Transformer _model;
    private readonly ModelRunner _runner;
    private Scheduler _scheduler = null!;

    public DecodeRun(ModelShape model, WeightFormat? format, int sequences, int prefix, int ownTokens, bool prefixGroups)
    {
        (_sequences, _prefix, _ownTokens, _vocabulary) = (sequences, prefix, ownTokens, model.Vocabulary);
        _folder = new RandomModel(model, format);
        _device = Device.OpenCpu();
        _model = Transformer.Load(_device, _folder.Folder, Options);
        ModelConfig config = _model.Config;
        int blocks = (prefix + sequences * (ownTokens + Steps)) / Options.BlockSize + 2 * sequences;
        var keysAndValues = new KvFormat(Options.BlockSize, config.KvHeads, config.HeadDim, Options.KvType!.Value);
        _runner = new ModelRunner(_model, new KvCache(_device, config.Layers, keysAndValues, blocks), Options.TokenBudget, sequences, prefixGroups);
        var options = Options with { KvBlocks = blocks, MaxSequences = sequences };
        SchedulerOptions numbers = options.ForModel(_model.MaxContext, [], 1, maxTokensPerStep: 1);
        for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < Rehearsal;) // so that all code is compiled as it stays
        {
            _scheduler = Prefilled(numbers);
            for (int step = 0; step < Steps / 2; step++) Step();
        }
        _scheduler = Prefilled(numbers);
    }

    public void Dispose()
    {
        _runner.Dispose();
        _device.Dispose();
        _folder.Dispose();
    }

    /// <summary>Every sequence gains a token.</summary>
    public void Step()
    {
        StepPlan plan = _scheduler.Plan();
        if (plan.Rows.Length != _sequences || plan.QueryTokens != _sequences)
            throw new InvalidOperationException($"{plan.Rows.Length} rows with {plan.QueryTokens} tokens, expected {_sequences} that decode");
        _scheduler.Commit(plan, _runner.Run(plan));
    }

    private Scheduler Prefilled(SchedulerOptions numbers)
    {
        var scheduler = new Scheduler(numbers);
        var random = new Random(1);
        int[] prefix = Tokens(_prefix);
        List<Sequence> sequences = [];
        for (int s = 0; s < _sequences; s++)
            sequences.AddRange(scheduler.Add(new Request([.. prefix, .. Tokens(_ownTokens)], new SamplingOptions { MaxTokens = Steps, IgnoreEndToken = true })));
        while (sequences.Any(sequence => sequence.OutputLength == 0))
        {
            StepPlan plan = scheduler.Plan();
            scheduler.Commit(plan, _runner.Run(plan));
        }
        return scheduler;

        int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(2, _vocabulary))];
    }
}
