using System.Diagnostics;

namespace KernelForge.Inference;

/// <summary>A step's shape and how long it took.</summary>
/// <param name="Shape">What it computed.</param>
/// <param name="Seconds">Time of the runner: batch, upload, model, choosing tokens.</param>
public readonly record struct StepTiming(in StepShape Shape, double Seconds);

/// <summary>Measures steps of a model on a device, to fit a <see cref="DeviceProfile"/> to them and to see how well it predicts. For one thread.</summary>
public sealed class Profiler : IDisposable
{
    private const double WarmUpSeconds = 0.5;

    private readonly IStepRunner _runner;
    private readonly StepShapeCounter _counter;

    private Profiler(Device device, IStepRunner runner, ModelShape model, SchedulerOptions options, ITokenizer tokenizer) =>
        (Device, _runner, Model, Options, Tokenizer, _counter) =
            (device, runner, model, options, tokenizer, new StepShapeCounter(options.BlockCount, options.BlockSize));

    /// <summary>Where steps run.</summary>
    public Device Device { get; }

    /// <summary>The model's shape, with the types it has on the device.</summary>
    public ModelShape Model { get; }

    /// <summary>Limits of a step and of the cache.</summary>
    public SchedulerOptions Options { get; }

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Loads a model folder. Exceptions are those of <see cref="Engine.Load"/>; drafts are not measured.</summary>
    public static Profiler Load(
        string folder, EngineOptions? options = null, Device? device = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        device ??= Device.Default;
        using var target = new ModelFolder(folder);
        options = ((options ?? new EngineOptions()) with { Speculation = null }).For(device, target, draft: null);
        var memory = EngineMemory.Of(device, target, draft: null, options);
        memory.RequireFits(device);
        ModelShape shape = ShapeOf(target, options);
        Transformer model = target.Load(device, options, progress, cancellationToken);
        SchedulerOptions numbers = options.ForModel(model.MaxContext, model.Config.EndTokenIds, memory.BytesPerBlock, maxTokensPerStep: 1);
        return new Profiler(device, Engine.CreateRunner(model, draftModel: null, options, numbers.BlockCount), shape, numbers, target.Tokenizer);
    }

    /// <summary>Measures a set of steps and fits a profile to them. Exceptions are those of <see cref="ProfileFit.Of"/>.</summary>
    /// <param name="name">What it is to be called.</param>
    /// <param name="rounds">Times that each step is measured; the median counts.</param>
    /// <param name="isSmall">Fewer steps, for a quick look.</param>
    /// <param name="progress">Told the share that is done, from 0 to 1.</param>
    /// <param name="cancellationToken">Ends it between two steps.</param>
    public ProfileFit Profile(
        string name, int rounds = 9, bool isSmall = false, IProgress<double>? progress = null, CancellationToken cancellationToken = default) =>
        Fit(Measure(StepDesign.Set(Options, isSmall), rounds, progress, cancellationToken), name);

    /// <summary>
    /// The same, and how well the profile predicts the steps that requests take, to which it is not fitted. Both are measured in turns, so that a machine
    /// whose speed drifts does the same to both.
    /// </summary>
    public (ProfileFit Fit, PredictionError Unseen) ProfileAndValidate(
        string name, IReadOnlyList<Request> requests, int rounds = 9, bool isSmall = false, IProgress<double>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        IReadOnlyList<StepDesign> designs = StepDesign.Set(Options, isSmall);
        var seconds = new double[rounds][];
        var runs = new List<StepTiming>[rounds];
        WarmUp(designs, cancellationToken);
        for (int round = 0; round < rounds; round++)
        {
            seconds[round] = TimeEach(designs, cancellationToken);
            progress?.Report((round + 0.5) / rounds);
            runs[round] = RunOnce(requests, cancellationToken);
            progress?.Report((round + 1.0) / rounds);
        }
        ProfileFit fit = Fit(TimingsOf(designs, seconds), name);
        return (fit, PredictionError.Of(new CostModel(fit.Profile, Model), Medians(runs)));
    }

    /// <summary>
    /// Times of made-up steps, the median of as many rounds over all of them. The keys and values that they read are those that are there: they do not matter
    /// for the time.
    /// </summary>
    public IReadOnlyList<StepTiming> Measure(
        IReadOnlyList<StepDesign> designs, int rounds = 9, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(designs);
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        var seconds = new double[rounds][];
        WarmUp(designs, cancellationToken);
        for (int round = 0; round < rounds; round++)
        {
            seconds[round] = TimeEach(designs, cancellationToken);
            progress?.Report((round + 1.0) / rounds);
        }
        return TimingsOf(designs, seconds);
    }

    /// <summary>
    /// Times of the steps that requests take, run by a scheduler to their ends; of each step the median of as many runs, which all take the same steps.
    /// </summary>
    /// <exception cref="ArgumentException">A request does not fit into the model's context or the cache.</exception>
    public IReadOnlyList<StepTiming> Run(
        IReadOnlyList<Request> requests, int runs = 3, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        ArgumentOutOfRangeException.ThrowIfLessThan(runs, 1);
        var timings = new List<StepTiming>[runs];
        for (int run = 0; run < runs; run++)
        {
            timings[run] = RunOnce(requests, cancellationToken);
            progress?.Report((run + 1.0) / runs);
        }
        return Medians(timings);
    }

    /// <inheritdoc/>
    public void Dispose() => (_runner as IDisposable)?.Dispose();

    private List<StepTiming> RunOnce(IReadOnlyList<Request> requests, CancellationToken cancellationToken)
    {
        List<StepTiming> timings = [];
        var scheduler = new Scheduler(Options);
        foreach (Request request in requests) scheduler.Add(request);
        while (scheduler.HasWork)
        {
            cancellationToken.ThrowIfCancellationRequested();
            StepPlan plan = scheduler.Plan();
            StepShape shape = _counter.Of(plan);
            long start = Stopwatch.GetTimestamp();
            StepResult result = _runner.Run(plan);
            timings.Add(new StepTiming(shape, Stopwatch.GetElapsedTime(start).TotalSeconds));
            scheduler.Commit(plan, result);
        }
        return timings;
    }

    private StepShape ShapeOf(in StepDesign design) => _counter.Of(PlanOf(design)) with { PromptTokens = design.Prompts * design.Chunk };

    private void WarmUp(IReadOnlyList<StepDesign> designs, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        do
        {
            foreach (StepDesign design in designs)
            {
                cancellationToken.ThrowIfCancellationRequested();
                _runner.Run(PlanOf(design));
            }
        }
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < WarmUpSeconds);
    }

    private double[] TimeEach(IReadOnlyList<StepDesign> designs, CancellationToken cancellationToken)
    {
        var seconds = new double[designs.Count];
        for (int i = 0; i < seconds.Length; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            StepPlan plan = PlanOf(designs[i]);
            long start = Stopwatch.GetTimestamp();
            _runner.Run(plan);
            seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        return seconds;
    }

    private ProfileFit Fit(IReadOnlyList<StepTiming> timings, string name)
    {
        ProfileFit fit = ProfileFit.Of(timings, Model, name, Device is CudaDevice cuda ? cuda.TotalBytes : Device.AvailableBytes);
        return fit with { Profile = fit.Profile with { Source = $"kf profile: {timings.Count} steps of {Model.Name} on {Device.Name}" } };
    }

    private List<StepTiming> TimingsOf(IReadOnlyList<StepDesign> designs, double[][] rounds) =>
        [.. designs.Select((design, i) => new StepTiming(ShapeOf(design), Median([.. rounds.Select(seconds => seconds[i])])))];

    private static List<StepTiming> Medians(List<StepTiming>[] runs) =>
        [.. runs[0].Select((first, step) => first with { Seconds = Median([.. runs.Select(run => run[step].Seconds)]) })];

    /// <summary>A plan with blocks from the first on, those of the shared part first.</summary>
    private StepPlan PlanOf(in StepDesign design)
    {
        var plan = new StepPlan(Options.BlockSize);
        int sharedBlocks = design.Shared / Options.BlockSize, next = design.Decodes > 0 ? sharedBlocks : 0;
        for (int i = 0; i < design.Rows; i++)
        {
            bool decodes = i < design.Decodes;
            (int start, int length) = decodes ? (design.Context, 1) : (design.History, design.Chunk);
            Sequence sequence = SequenceOf(i, start + length);
            int count = (start + length + Options.BlockSize - 1) / Options.BlockSize;
            for (int k = 0; k < count; k++) sequence.Table.Add(decodes && k < sharedBlocks ? k : next++);
            plan.Add(new PlanRow(sequence, start, length, maxTokens: 1));
        }
        return plan;
    }

    private Sequence SequenceOf(int id, int length)
    {
        var tokens = new int[length];
        for (int i = 0; i < length; i++) tokens[i] = (7 * id + 13 * i) % Model.VocabularySize;
        return new Sequence(id, new Request(tokens), sampleIndex: 0, length + 1);
    }

    private static ModelShape ShapeOf(ModelFolder folder, EngineOptions options)
    {
        DType type = options.ComputeType!.Value;
        ModelShape shape = ModelShape.Of(folder.Config);
        double head = (folder.Config.TiedEmbeddings ? 1.0 : 2.0) * shape.HeadWeights;
        int wide = type == DType.F32 ? folder.Checkpoint.MainType.Size() : type.Size();
        double linear = folder.WeightBytes(type) - head * wide;
        return shape with
        {
            Name = Path.GetFileName(Path.TrimEndingDirectorySeparator(folder.Path)),
            MaxContext = Math.Min(options.ContextLength ?? shape.MaxContext, shape.MaxContext),
            WeightBits = shape.IsQuantised ? shape.WeightBits : Math.Max(1, Math.Round(8 * linear / (shape.Layers * shape.LayerWeights))),
            EmbeddingBytes = wide,
            KvBytesPerElement = options.KvType!.Value.Size(),
        };
    }

    private static double Median(double[] values)
    {
        Array.Sort(values);
        int middle = values.Length / 2;
        return values.Length % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    }
}
