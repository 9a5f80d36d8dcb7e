using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

/// <summary>Requests on a real model through a scheduler, keeping the logits that every token was chosen from.</summary>
internal sealed class ModelRun : IDisposable
{
    private readonly ModelRunner _runner;

    public ModelRun(TinyModel tiny, SchedulerOptions options, Device? device = null, DType? computeType = null, DType? kvType = null, bool prefixGroups = true)
        : this(tiny.Folder, options, device, computeType, kvType, prefixGroups)
    {
    }

    public ModelRun(
        string folder, SchedulerOptions options, Device? device = null, DType? computeType = null, DType? kvType = null, bool prefixGroups = true)
    {
        Transformer model = Transformer.Load(device ?? Device.Cpu, folder, new EngineOptions { ComputeType = computeType });
        var format = new KvFormat(options.BlockSize, model.Config.KvHeads, model.Config.HeadDim, kvType ?? model.ComputeType);
        var cache = new KvCache(model.Device, model.Config.Layers, format, options.BlockCount);
        _runner = new ModelRunner(model, cache, options.TokenBudget, options.MaxSequences, prefixGroups);
        Scheduler = new Scheduler(options);
    }

    public Scheduler Scheduler { get; }

    public KvReads KvReads => _runner.KvReads;

    /// <summary>Logits by request, sample and position of the token chosen.</summary>
    public Dictionary<(Request Request, int Sample, int Position), float[]> Logits { get; } = [];

    /// <summary>Runs all requests to their ends; one sequence per request and sample, in order.</summary>
    public IReadOnlyList<Sequence> Run(IEnumerable<Request> requests)
    {
        List<Sequence> sequences = [];
        foreach (Request request in requests) sequences.AddRange(Scheduler.Add(request));
        while (Scheduler.HasWork)
        {
            StepPlan plan = Scheduler.Plan();
            StepResult result = _runner.Run(plan);
            Keep(plan);
            Scheduler.Commit(plan, result);
        }
        return sequences;
    }

    public void Dispose() => _runner.Dispose();

    private void Keep(StepPlan plan)
    {
        DeviceMatrix last = _runner.LastLogits;
        int sampling = 0;
        foreach (PlanRow row in plan.Rows)
        {
            if (!row.Samples) continue;
            var logits = new float[last.Columns];
            last.SliceRows(sampling++, 1).CopyTo(new Span2D<float>(logits, 1, last.Columns));
            Logits[(row.Sequence.Request, row.Sequence.SampleIndex, row.Sequence.Length)] = logits;
        }
    }
}
