namespace KernelForge.Inference;

/// <summary>Every number a user may set for an engine.</summary>
public sealed record EngineOptions
{
    private const long HostKvMemoryBytes = 1L << 30;
    private const int KvPercentOfFree = 85;

    /// <summary>Most query tokens in a step. More use the machine better; fewer keep the pause between two tokens of a stream short.</summary>
    public int TokenBudget { get; init; } = 512;

    /// <summary>
    /// What the pause between two tokens of a stream should be at most: steps get fewer prompt tokens where they would take longer, by what the steps of this
    /// engine took so far. Null takes <see cref="TokenBudget"/> tokens always. Does not change any token.
    /// </summary>
    public TimeSpan? TimeBetweenTokens { get; init; }

    /// <summary>Most sequences running at the same time.</summary>
    public int MaxSequences { get; init; } = 256;

    /// <summary>Token positions in a KV block.</summary>
    public int BlockSize { get; init; } = 16;

    /// <summary>KV blocks; null takes as many as <see cref="KvMemoryBytes"/> holds.</summary>
    public int? KvBlocks { get; init; }

    /// <summary>
    /// Memory for the KV cache in bytes; null takes 1 GiB on the CPU, and on a device with memory of its own 85 % of what weights and intermediate
    /// results leave free. Not used when <see cref="KvBlocks"/> is set.
    /// </summary>
    public long? KvMemoryBytes { get; init; }

    /// <summary>
    /// Float type of the activations: each result is rounded to it once, sums are F32 and so are logits. F32 takes the weights as they are stored, F16 and
    /// BF16 round them to the same type. Null takes F32 where the device computes in it (the CPU); elsewhere (CUDA) the 16-bit type in which
    /// most weights are stored, F16 for weights in F32.
    /// </summary>
    public DType? ComputeType { get; init; }

    /// <summary>
    /// Element type of the KV cache; null takes that of the activations. On the CPU F32, F16 or BF16, where the narrower ones take half the memory and round
    /// keys and values; elsewhere it must be the type of the activations.
    /// </summary>
    public DType? KvType { get; init; }

    /// <summary>
    /// What the linear layers round their inputs to before they multiply: on the CPU <see cref="ActivationPrecision.BF16"/> or, with quantised weights,
    /// <see cref="ActivationPrecision.Int8"/> are faster and a little less exact; dense layers of a quantised model take BF16 then. Tokens may change by the
    /// choice, never by the batch. Elsewhere it must be <see cref="ActivationPrecision.Full"/>, and without <see cref="PackWeights"/> too.
    /// </summary>
    public ActivationPrecision Activations { get; init; } = ActivationPrecision.Full;

    /// <summary>
    /// On the CPU, puts the dense weights of linear layers into the order in which products read them fastest: a copy in memory, made when the model is loaded.
    /// False computes with the mapped checkpoint, whose memory all processes share, more slowly. Changes no bit. Quantised weights are packed always.
    /// </summary>
    public bool PackWeights { get; init; } = true;

    /// <summary>
    /// Where packed weights are mapped from instead of being made: a file that <c>kf pack</c> wrote for the model, which must fit. Null takes the model
    /// folder's own where it is there and fits, see <see cref="Engine.PackedFileComplaint"/>; an empty text takes none. Not used without <see
    /// cref="PackWeights"/>, elsewhere than on the CPU, and for draft models, which take their folder's own.
    /// </summary>
    public string? PackedFile { get; init; }

    /// <summary>Most tokens of a sequence, prompt included; null takes the model's context length.</summary>
    public int? ContextLength { get; init; }

    /// <summary>Keeps computed blocks for later requests that begin alike. Does not change any token.</summary>
    public bool PrefixCache { get; init; } = true;

    /// <summary>
    /// Lets sequences that share a prefix read its keys and values together when they attend, in every step and however many prefixes there are. Does not
    /// change any bit.
    /// </summary>
    public bool PrefixGroups { get; init; } = true;

    /// <summary>Whether the next request may enter; reserving for the worst case by default.</summary>
    public IAdmissionPolicy Admission { get; init; } = new ReserveAllAdmission();

    /// <summary>Who is next; arrival by default.</summary>
    public IQueueOrder Order { get; init; } = new ArrivalOrder();

    /// <summary>Which of the decoding sequences step; all by default.</summary>
    public IDecodeSelector Decodes { get; init; } = new AllDecodes();

    /// <summary>How tokens are drafted and verified several at a time; null decodes a token a step.</summary>
    public SpeculationOptions? Speculation { get; init; }

    /// <summary>Requests that may wait in an <see cref="EngineHost"/>.</summary>
    public int QueueCapacity { get; init; } = 1024;

    /// <summary>What becomes of requests whose deadline passes.</summary>
    public TimeoutPolicy Timeouts { get; init; } = TimeoutPolicy.End;

    /// <summary>How long keys and values are kept for the next turn of a conversation; null where requests say so themselves or not at all.</summary>
    public IKeepAlive? KeepAlive { get; init; }

    /// <summary>Throws <see cref="ArgumentException"/> naming the option that is out of range.</summary>
    public void Validate()
    {
        Require(TokenBudget, nameof(TokenBudget));
        Require(MaxSequences, nameof(MaxSequences));
        Require(BlockSize, nameof(BlockSize));
        Require(KvBlocks ?? 1, nameof(KvBlocks));
        Require(KvMemoryBytes ?? 1, nameof(KvMemoryBytes));
        Require(QueueCapacity, nameof(QueueCapacity));
        Speculation?.Validate();
        if (TimeBetweenTokens is { } pause && pause <= TimeSpan.Zero)
            throw new ArgumentException($"EngineOptions.TimeBetweenTokens must be more than 0 ms, not {pause.TotalMilliseconds} ms.", nameof(TimeBetweenTokens));
        if (KvType is { } kv && !kv.IsFloat()) throw new ArgumentException($"EngineOptions.KvType must be F32, F16 or BF16, not {kv}.", nameof(KvType));
        if (ComputeType is { } type && !type.IsFloat())
            throw new ArgumentException($"EngineOptions.ComputeType must be F32, F16 or BF16, not {type}.");
        if (!Enum.IsDefined(Activations)) throw new ArgumentException($"EngineOptions.Activations must be Full, BF16 or Int8, not {Activations}.", nameof(Activations));
        if (Activations != ActivationPrecision.Full && !PackWeights)
            throw new ArgumentException($"EngineOptions.Activations must be Full where weights are not packed, not {Activations}.", nameof(Activations));
        if (ContextLength is < 2)
            throw new ArgumentException($"EngineOptions.ContextLength must be null or 2 or more, not {ContextLength}.", nameof(ContextLength));
    }

    /// <summary>
    /// The scheduler's numbers for a model: bytes of KV per block decide the number of blocks unless it is set. Throws
    /// <see cref="ArgumentException"/> when the memory, 1 GiB where it is null, does not hold a single block.
    /// </summary>
    /// <param name="modelContextLength">Most tokens that the model takes.</param>
    /// <param name="endTokenIds">The model's end-of-sequence ids.</param>
    /// <param name="bytesPerBlock">Of keys and values.</param>
    /// <param name="maxTokensPerStep">The runner's.</param>
    /// <param name="tile">Tokens that the device computes together, for <see cref="TimeBetweenTokens"/>.</param>
    public SchedulerOptions ForModel(int modelContextLength, IReadOnlyList<int> endTokenIds, long bytesPerBlock, int maxTokensPerStep, int tile = 1)
    {
        Validate();
        long memory = KvMemoryBytes ?? HostKvMemoryBytes, blocks = KvBlocks ?? WithoutBranches(Math.Min(int.MaxValue / BlockSize, memory / bytesPerBlock));
        if (blocks < 1) throw new ArgumentException($"EngineOptions.KvMemoryBytes must hold a block of {bytesPerBlock} bytes, {memory} does not.");

        return new SchedulerOptions
        {
            BlockCount = (int)blocks,
            BlockSize = BlockSize,
            ContextLength = Math.Min(modelContextLength, ContextLength ?? modelContextLength),
            TokenBudget = TokenBudget,
            MaxSequences = MaxSequences,
            PrefixCache = PrefixCache,
            MaxTokensPerStep = maxTokensPerStep,
            EndTokenIds = endTokenIds,
            Admission = Admission,
            Order = Order,
            Decodes = Decodes,
            Budget = TimeBetweenTokens is { } pause ? new LatencyBudget(new LearnedStepTime(), pause, tile) : new FixedBudget(),
            KeepAlive = KeepAlive,
            DraftNodes = Speculation?.NodesPerToken ?? 1,
            DraftLengths = Speculation is { DraftLength: null } adaptive
                ? new AdaptiveDraftLength(adaptive.MaxDraftLength)
                : new FixedDraftLength(Speculation?.DraftLength ?? 0),
        };
    }

    /// <summary>Blocks for branches of token trees, beside so many of the scheduler: at most a quarter of these.</summary>
    internal int BranchBlocks(int blocks) => Math.Min(MostBranchBlocks, blocks / 4);

    /// <summary>
    /// These options with what null leaves to the device and to the model filled in; memory for a draft model is not thought of. Throws
    /// <see cref="ArgumentException"/> when an option is out of range or the device does not compute in the type asked for.
    /// </summary>
    public EngineOptions For(Device device, ModelConfig config, Checkpoint checkpoint)
    {
        EngineOptions typed = Typed(device, checkpoint);
        return typed.WithShareOfFree(device, config, with => EngineMemory.Of(device, config, WeightBytes.Of(device, config, checkpoint, typed), with));
    }

    /// <summary>The same for a model with a draft model: what is free is for the keys and values of both.</summary>
    internal EngineOptions For(Device device, ModelFolder target, ModelFolder? draft) =>
        Typed(device, target.Checkpoint).WithShareOfFree(device, target.Config, with => EngineMemory.Of(device, target, draft, with));

    private EngineOptions Typed(Device device, Checkpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(checkpoint);
        Validate();
        DType type = ComputeType ?? PreferredType(device, checkpoint);
        if (!device.ComputeTypes.Contains(type))
            throw new ArgumentException($"EngineOptions.ComputeType must be {string.Join(" or ", device.ComputeTypes)} on {device.Name}, not {type}.");
        if (Activations != ActivationPrecision.Full && !device.IsCpu)
            throw new ArgumentException($"EngineOptions.Activations must be Full on {device.Name}, not {Activations}.");
        DType kvType = KvType ?? type;
        if (kvType != type && !device.IsCpu)
            throw new ArgumentException($"EngineOptions.KvType must be the type of the activations, {type}, on {device.Name}, not {kvType}.");
        return this with { ComputeType = type, KvType = kvType };
    }

    /// <summary>A block at least: what does not fit is said when all of it is known.</summary>
    private EngineOptions WithShareOfFree(Device device, ModelConfig config, Func<EngineOptions, EngineMemory> memoryOf)
    {
        if (KvMemoryBytes is not null || device.IsCpu) return this;
        EngineMemory rest = memoryOf(this with { KvBlocks = 1 });
        long share = (device.AvailableBytes - rest.Weights - rest.Intermediate) / 100 * KvPercentOfFree;
        long most = int.MaxValue / new KvFormat(BlockSize, config.KvHeads, config.HeadDim, DType.F32).RowsPerBlock * rest.BytesPerBlock;
        return this with { KvMemoryBytes = Math.Clamp(share, rest.BytesPerBlock, Math.Max(most, rest.BytesPerBlock)) };
    }

    private static DType PreferredType(Device device, Checkpoint checkpoint)
    {
        if (device.ComputeTypes.Contains(DType.F32)) return DType.F32;
        return device.ComputeTypes.Contains(checkpoint.MainType) ? checkpoint.MainType : device.ComputeTypes[0];
    }

    private static void Require(long value, string option)
    {
        if (value < 1) throw new ArgumentException($"EngineOptions.{option} must be 1 or more, not {value}.", option);
    }

    private int MostBranchBlocks => Speculation?.BranchBlocks(TokenBudget, MaxSequences) ?? 0;

    /// <summary>The most blocks that leave room for <see cref="BranchBlocks"/> beside them.</summary>
    private long WithoutBranches(long blocks) => blocks - Math.Min(MostBranchBlocks, (blocks + 1) / 5);
}
