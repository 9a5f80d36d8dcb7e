using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

/// <summary>Requests on a real model through a scheduler, keeping the logits that every token was chosen from.</summary>
internal sealed class ModelRun : IDisposable
{
    private readonly IStepRunner _runner;

    public ModelRun(
        TinyModel tiny, SchedulerOptions options, Device? device = null, DType? computeType = null, DType? kvType = null, bool prefixGroups = true,
        SpeculationOptions? speculation = null, bool packWeights = true, string? packedFile = null,
        ActivationPrecision activations = ActivationPrecision.Full)
        : this(tiny.Folder, options, device, computeType, kvType, prefixGroups, speculation, packWeights, packedFile, activations)
    {
    }

    public ModelRun(
        string folder, SchedulerOptions options, Device? device = null, DType? computeType = null, DType? kvType = null, bool prefixGroups = true,
        SpeculationOptions? speculation = null, bool packWeights = true, string? packedFile = null,
        ActivationPrecision activations = ActivationPrecision.Full)
    {
        var engine = new EngineOptions
        {
            ComputeType = computeType,
            TokenBudget = options.TokenBudget,
            MaxSequences = options.MaxSequences,
            BlockSize = options.BlockSize,
            PrefixGroups = prefixGroups,
            Speculation = speculation,
            PackWeights = packWeights,
            PackedFile = packedFile,
            Activations = activations,
        };
        Transformer model = Transformer.Load(device ?? Device.Cpu, folder, engine);
        engine = engine with { ComputeType = model.ComputeType, KvType = kvType ?? model.ComputeType };
        Transformer? draft = speculation?.DraftModel is { } draftFolder ? Transformer.Load(device ?? Device.Cpu, draftFolder, engine) : null;
        engine = engine with { KvBlocks = options.BlockCount };
        _runner = Engine.CreateRunner(model, draft, engine, options.BlockCount);
        SchedulerOptions drafting = engine.ForModel(model.MaxContext, [], bytesPerBlock: 1, _runner.MaxTokensPerStep);
        Scheduler = new Scheduler(options with
        {
            MaxTokensPerStep = drafting.MaxTokensPerStep, DraftLengths = drafting.DraftLengths, DraftNodes = drafting.DraftNodes,
        });
    }

    public Scheduler Scheduler { get; }

    public KvReads KvReads => _runner.KvReads;

    public SpeculationCounters? Speculation => _runner.Speculation;

    /// <summary>Logits by request, sample and position of the token chosen.</summary>
    public Dictionary<(Request Request, int Sample, int Position), float[]> Logits { get; } = [];

    /// <summary>Runs all requests to their ends; one sequence per request and sample, in order.</summary>
    public IReadOnlyList<Sequence> Run(IEnumerable<Request> requests)
    {
        List<Sequence> sequences = [];
        foreach (Request request in requests) sequences.AddRange(Scheduler.Add(request));
        while (Scheduler.HasWork)
        {
            Scheduler.StepCost = _runner.StepCost;
            StepPlan plan = Scheduler.Plan();
            StepResult result = _runner.Run(plan);
            Scheduler.Commit(plan, result);
            Keep(plan, result);
        }
        return sequences;
    }

    public void Dispose() => ((IDisposable)_runner).Dispose();

    private void Keep(StepPlan plan, StepResult result)
    {
        var speculative = _runner as SpeculativeRunner;
        DeviceMatrix last = speculative?.LastLogits ?? ((ModelRunner)_runner).LastLogits;
        int sampling = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            if (!row.Samples) continue;
            int length = row.Start + row.Length, gained = Math.Min(result.Tokens(i).Length, row.Sequence.Length - length); // the scheduler may have ended it before
            for (int t = 0; t < gained; t++)
            {
                var logits = new float[last.Columns];
                last.SliceRows(speculative?.LogitsRowOf(sampling, t) ?? sampling, 1).CopyTo(new Span2D<float>(logits, 1, last.Columns));
                Logits[(row.Sequence.Request, row.Sequence.SampleIndex, length + t)] = logits;
            }
            sampling++;
        }
    }
}
