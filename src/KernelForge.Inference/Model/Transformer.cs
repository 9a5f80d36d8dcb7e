namespace KernelForge.Inference;

/// <summary>
/// A dense decoder of the Llama family: Llama, Mistral, Qwen2, Qwen3. Activations have one type (<see cref="ComputeType"/>). With F32 weights stay in the type
/// they are stored in; with F16 or BF16 they have that type too. Linear layers may be quantised. On the CPU their weights are packed where the options say so,
/// and what has its type is the mapped file itself: <see cref="EngineOptions.PackWeights"/>. Sums and logits are F32.
/// </summary>
public sealed class Transformer : IDisposable
{
    private const string EmbeddingName = "model.embed_tokens.weight";

    private readonly ModelWeights _weights;
    private readonly DeviceBuffer _angles;
    private readonly DeviceMatrix _embedding, _finalNorm;
    private readonly Linear _head;
    private readonly TransformerLayer[] _layers;

    private Transformer(Device device, ModelWeights weights, ModelConfig config, DType computeType, int maxContext)
    {
        (Device, Config, ComputeType, MaxContext, _weights) = (device, config, computeType, maxContext, weights);
        _embedding = weights.Load(EmbeddingName, config.VocabularySize, config.HiddenSize);
        _finalNorm = weights.Load("model.norm.weight", 1, config.HiddenSize);
        _head = config.TiedEmbeddings
            ? Linear.LoadDense(weights, EmbeddingName, config.VocabularySize, config.HiddenSize)
            : Linear.Load(weights, "lm_head", config.VocabularySize, config.HiddenSize, hasBias: false);
        _layers = new TransformerLayer[config.Layers];
        for (int i = 0; i < _layers.Length; i++) _layers[i] = new TransformerLayer(weights, config, i);
        weights.Complete();
        _angles = RopeAngles.Create(device, config, maxContext);
    }

    /// <summary>Where the model computes.</summary>
    public Device Device { get; }

    /// <summary>Its shape.</summary>
    public ModelConfig Config { get; }

    /// <summary>Most tokens of a sequence, prompt included.</summary>
    public int MaxContext { get; }

    /// <summary>Type of the activations.</summary>
    public DType ComputeType { get; }

    /// <summary>Why the packed file in the model's folder was not used; null where it was, or there is none.</summary>
    public string? PackedFileComplaint { get; private init; }

    /// <summary>The weights that are packed, as a <see cref="PackedFile"/> has them.</summary>
    internal IReadOnlyList<PackedModule> Packed => _weights.Packed;

    /// <summary>Loads the weights of a Hugging Face folder.</summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="folder">With <c>config.json</c> and safetensors weights.</param>
    /// <param name="options">Context length, type of the activations and how weights are packed; the rest does not matter here.</param>
    /// <exception cref="ModelFormatException">The folder, or the packed file that the options name, cannot be used; says why.</exception>
    /// <exception cref="ArgumentException">The device does not compute in that type.</exception>
    public static Transformer Load(Device device, string folder, EngineOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ModelConfig config = ModelConfig.Load(folder);
        var checkpoint = new Checkpoint(folder);
        try
        {
            options = (options ?? new EngineOptions()).For(device, config, checkpoint);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
        return Load(device, config, checkpoint, options);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _angles.Dispose();
        _weights.Dispose();
    }

    /// <summary>Loads the weights of a checkpoint, which it owns from now on, under options that name the type.</summary>
    internal static Transformer Load(
        Device device, ModelConfig config, Checkpoint checkpoint, EngineOptions options, IProgress<double>? progress = null, CancellationToken cancellation = default)
    {
        DType type = options.ComputeType!.Value;
        bool packs = WeightBytes.ArePacked(device, options);
        (PackedFile? file, string? complaint) = packs ? PackedFile.Find(options.PackedFile, checkpoint, type) : default;
        var weights = new ModelWeights(device, checkpoint, config.Quantization, type, progress, cancellation, packs, file) { Activations = options.Activations };
        try
        {
            int maxContext = Math.Min(options.ContextLength ?? config.MaxContext, config.MaxContext);
            return new Transformer(device, weights, config, type, maxContext) { PackedFileComplaint = complaint };
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Runs a step's tokens through all layers, storing their keys and values, and returns the logits (F32) of the tokens that
    /// <see cref="StepBatch.LogitTokens"/> names.
    /// The result is valid until the arena is reset.
    /// </summary>
    internal DeviceMatrix Forward(in StepBatch batch, KvCache cache, Arena arena)
    {
        LayerScratch scratch = Begin(batch, arena);
        Apply(batch, cache, scratch, 0.._layers.Length);
        return Logits(batch.LogitTokens, scratch.Residual, arena);
    }

    /// <summary>What goes into the first layer, as the residual stream of the result.</summary>
    internal LayerScratch Begin(in StepBatch batch, Arena arena)
    {
        LayerScratch scratch = LayerScratch.Take(arena, Config, ComputeType, batch.TokenIds.Length);
        Device.Operators.Embed(batch.TokenIds, _embedding, scratch.Residual);
        return scratch;
    }

    /// <summary>Takes the residual stream through some layers, storing keys and values.</summary>
    internal void Apply(in StepBatch batch, KvCache cache, in LayerScratch scratch, Range layers)
    {
        DeviceMatrix angles = _angles.AsMatrix(MaxContext, Config.HeadDim);
        for (int i = layers.Start.Value; i < layers.End.Value; i++) _layers[i].Apply(Device.Operators, batch, cache.Layer(i), angles, scratch);
    }

    /// <summary>The residual stream of some tokens, in memory for their number.</summary>
    internal LayerScratch Keep(DeviceSpan<int> tokens, in LayerScratch scratch, Arena arena)
    {
        LayerScratch kept = LayerScratch.Take(arena, Config, ComputeType, tokens.Length);
        Device.Operators.Embed(tokens, scratch.Residual, kept.Residual);
        return kept;
    }

    /// <summary>The logits (F32) of some tokens of a residual stream, behind the last layer or, as a prediction, an earlier one.</summary>
    internal DeviceMatrix Logits(DeviceSpan<int> tokens, in DeviceMatrix residual, Arena arena)
    {
        DeviceMatrix hidden = arena.Matrix(ComputeType, tokens.Length, Config.HiddenSize);
        DeviceMatrix logits = arena.Matrix(DType.F32, tokens.Length, Config.VocabularySize);
        Device.Operators.Embed(tokens, residual, hidden);
        Device.Operators.RmsNorm(hidden, _finalNorm, Config.RmsNormEpsilon, hidden);
        _head.Apply(Device.Operators, hidden, logits);
        return logits;
    }

    /// <summary>Bytes of an arena in which <see cref="Forward"/> can run that many tokens and logit rows, sampling included.</summary>
    internal static long ArenaBytes(ModelConfig config, DType computeType, int tokens, int logitRows) =>
        LayerScratch.Bytes(config, computeType, tokens) + LogitBytes(config, computeType, logitRows)
        + Arena.Rounded((long)logitRows * config.VocabularySize * sizeof(float));

    /// <summary>Bytes of an arena that <see cref="Logits"/> takes.</summary>
    internal static long LogitBytes(ModelConfig config, DType computeType, int rows) =>
        Arena.Rounded((long)rows * config.VocabularySize * sizeof(float)) + Arena.Rounded((long)rows * config.HiddenSize * computeType.Size());
}
