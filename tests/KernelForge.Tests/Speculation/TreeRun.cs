using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

/// <summary>Requests on a real model, plain or with token trees: answers, and the logits that each token was chosen from.</summary>
internal sealed class TreeRun
{
    private readonly Dictionary<(Request, int Sample), int[]> _tokens = [];
    private readonly Dictionary<(Request, int Sample), TokenLogProb[]> _logProbs = [];
    private readonly Dictionary<(Request, int Sample, int Position), float[]> _logits = [];

    /// <summary>Generated tokens of a sequence.</summary>
    public int[] TokensOf(Sequence sequence) => _tokens[(sequence.Request, sequence.SampleIndex)];

    public SpeculationCounters? Counters { get; private set; }

    /// <summary>The rows of a matrix.</summary>
    public static float[][] Rows(DeviceMatrix matrix)
    {
        float[,] all = matrix.ToArray<float>();
        return [.. Enumerable.Range(0, matrix.Rows).Select(row => new ReadOnlySpan2D<float>(all).GetRowSpan(row).ToArray())];
    }

    public static TreeRun Plain(TinyModel tiny, Device device, DType type, List<Request> requests)
    {
        var options = new SchedulerOptions { BlockCount = 200, ContextLength = Workload.ContextLength, TokenBudget = 96, MaxSequences = 1, EndTokenIds = [1] };
        var result = new TreeRun();
        Transformer model = Load(tiny, device, type);
        using var runner = new ModelRunner(model, Cache(model, options, type, 0), options.TokenBudget, options.MaxSequences, prefixGroups: false);
        result.RunAll(runner, requests, options, (plan, step) =>
        {
            float[][] rows = Rows(runner.LastLogits);
            int next = 0;
            foreach (PlanRow row in plan.Rows)
                if (row.Samples) result._logits[Key(row.Sequence, 0)] = rows[next++];
        });
        return result;
    }

    public static TreeRun WithTrees(
        TinyModel tiny, Device device, DType type, List<Request> requests, SchedulerOptions options, IDrafter product, int branchBlocks, bool prefixGroups = true,
        EarlyPruning? pruning = null)
    {
        var result = new TreeRun();
        Transformer model = Load(tiny, device, type);
        SpeculationOptions speculation = pruning is null ? new() : new() { Branches = 2, EarlyPruning = pruning };
        var drafter = new Listener(product);
        using var runner = new SpeculativeRunner(
            model, Cache(model, options, type, branchBlocks), drafter, speculation, options.TokenBudget, options.MaxSequences, prefixGroups, branchBlocks);
        result.RunAll(runner, requests, options, (plan, step) =>
        {
            float[][] rows = Rows(runner.LastLogits);
            int sampling = 0;
            for (int i = 0; i < plan.Rows.Length; i++)
            {
                if (!plan.Rows[i].Samples) continue;
                ReadOnlySpan<int> path = drafter.Last!.Accepted(i);
                Assert.Equal(step.Tokens(i).Length, path.Length);
                for (int t = 0; t < path.Length; t++) result._logits[Key(plan.Rows[i].Sequence, t)] = rows[runner.LogitsRowOf(sampling, t)];
                sampling++;
            }
        });
        result.Counters = runner.Speculation;
        return result;
    }

    public void AssertSame(TreeRun other)
    {
        Assert.Equal(other._tokens, _tokens);
        Assert.Equal(other._logProbs, _logProbs);
        Assert.Equal(other._logits.Count, _logits.Count);
        foreach ((var key, float[] logits) in other._logits) Close.AssertSameBits(logits, _logits[key]);
    }

    private void RunAll(IStepRunner runner, List<Request> requests, SchedulerOptions options, Action<StepPlan, StepResult> keep)
    {
        var scheduler = new Scheduler(options);
        List<Sequence> sequences = [.. requests.SelectMany(scheduler.Add)];
        while (scheduler.HasWork)
        {
            StepPlan plan = scheduler.Plan();
            StepResult step = runner.Run(plan);
            keep(plan, step);
            scheduler.Commit(plan, step);
        }
        foreach (Sequence sequence in sequences)
        {
            _tokens[(sequence.Request, sequence.SampleIndex)] = sequence.OutputTokens.ToArray();
            _logProbs[(sequence.Request, sequence.SampleIndex)] = [.. (sequence.OutputLogProbs ?? []).SelectMany(one => (TokenLogProb[])[one.Chosen, .. one.Top])];
        }
    }

    private static (Request, int, int) Key(Sequence sequence, int gained) => (sequence.Request, sequence.SampleIndex, sequence.Length + gained);

    private static Transformer Load(TinyModel tiny, Device device, DType type) => Transformer.Load(device, tiny.Folder, new EngineOptions { ComputeType = type });

    private static KvCache Cache(Transformer model, SchedulerOptions options, DType type, int branchBlocks) => new(
        model.Device, model.Config.Layers, new KvFormat(options.BlockSize, model.Config.KvHeads, model.Config.HeadDim, type), options.BlockCount + branchBlocks);

    /// <summary>Keeps the drafts of the last step.</summary>
    private sealed class Listener(IDrafter product) : IDrafter
    {
        public DraftBatch? Last { get; private set; }

        public int MaxDraftLength => product.MaxDraftLength;

        public void Draft(StepPlan plan, DraftBatch drafts) => product.Draft(plan, drafts);

        public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
        {
            product.Observe(plan, drafts, result);
            Last = drafts;
        }

        public void Dispose() => product.Dispose();
    }

    /// <summary>Few blocks, so that some sequences are preempted.</summary>
    public static SchedulerOptions Scarce(int blockSize, int draftLength, int nodes) => new()
    {
        BlockCount = 3 * (Workload.ContextLength / blockSize + 1),
        BlockSize = blockSize,
        ContextLength = Workload.ContextLength,
        TokenBudget = 48,
        MaxSequences = 7,
        MaxTokensPerStep = 1 + draftLength,
        DraftNodes = nodes,
        Admission = new AggressiveAdmission(),
        EndTokenIds = [1],
    };
}
