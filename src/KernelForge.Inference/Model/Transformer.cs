namespace KernelForge.Inference;

/// <summary>
/// A dense decoder of the Llama family: Llama, Mistral, Qwen2, Qwen3. Weights stay in the type they are stored in; on the CPU they are the mapped file itself.
/// </summary>
public sealed class Transformer : IDisposable
{
    private readonly Checkpoint _checkpoint;
    private readonly DeviceBuffer _angles;
    private readonly DeviceMatrix _embedding, _finalNorm;
    private readonly Linear _head;
    private readonly Layer[] _layers;

    private Transformer(Device device, Checkpoint checkpoint, ModelConfig config, int maxContext)
    {
        (Device, Config, MaxContext, _checkpoint) = (device, config, maxContext, checkpoint);
        _embedding = checkpoint.Load(device, "model.embed_tokens.weight", config.VocabularySize, config.HiddenSize);
        _finalNorm = checkpoint.Load(device, "model.norm.weight", 1, config.HiddenSize);
        _head = config.TiedEmbeddings
            ? new Linear(_embedding, default)
            : Linear.Load(device, checkpoint, "lm_head", config.VocabularySize, config.HiddenSize, hasBias: false);
        _layers = new Layer[config.Layers];
        for (int i = 0; i < _layers.Length; i++) _layers[i] = new Layer(device, checkpoint, config, $"model.layers.{i}");
        _angles = RopeAngles.Create(device, config, maxContext);
    }

    /// <summary>Where the model computes.</summary>
    public Device Device { get; }

    /// <summary>Its shape.</summary>
    public ModelConfig Config { get; }

    /// <summary>Most tokens of a sequence, prompt included.</summary>
    public int MaxContext { get; }

    /// <summary>Bytes of the weight files' tensors.</summary>
    public long WeightBytes => _checkpoint.SizeInBytes;

    /// <summary>Loads the weights of a Hugging Face folder.</summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="folder">With <c>config.json</c> and safetensors weights.</param>
    /// <param name="maxContext">Most tokens of a sequence; the model's own limit where that is smaller or this is null.</param>
    /// <exception cref="ModelFormatException">The folder cannot be used; says why.</exception>
    public static Transformer Load(Device device, string folder, int? maxContext = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ModelConfig config = ModelConfig.Load(folder);
        var checkpoint = new Checkpoint(folder);
        try
        {
            return new Transformer(device, checkpoint, config, Math.Min(maxContext ?? config.MaxContext, config.MaxContext));
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _angles.Dispose();
        _checkpoint.Dispose();
    }

    /// <summary>
    /// Runs a step's tokens through all layers, storing their keys and values, and returns the logits (F32) of the tokens that
    /// <see cref="StepBatch.LogitTokens"/> names.
    /// The result is valid until the arena is reset.
    /// </summary>
    internal DeviceMatrix Forward(in StepBatch batch, KvCache cache, Arena arena)
    {
        Operators operators = Device.Operators;
        DeviceMatrix angles = _angles.AsMatrix(MaxContext, Config.HeadDim);
        LayerScratch scratch = LayerScratch.Take(arena, Config, batch.TokenIds.Length);
        (DeviceMatrix residual, DeviceMatrix x) = (scratch.Residual, scratch.X);

        operators.Embed(batch.TokenIds, _embedding, residual);
        for (int i = 0; i < _layers.Length; i++)
        {
            Layer layer = _layers[i];
            if (i == 0) operators.RmsNorm(residual, layer.AttentionNorm, Config.RmsNormEpsilon, x);
            else operators.AddRmsNorm(x, residual, layer.AttentionNorm, Config.RmsNormEpsilon, x);
            layer.Attention.Apply(operators, x, batch, cache.Layer(i), angles, scratch);
            operators.AddRmsNorm(x, residual, layer.MlpNorm, Config.RmsNormEpsilon, x);
            layer.Mlp.Apply(operators, x, scratch);
        }
        return Logits(operators, batch, arena, x, residual);
    }

    /// <summary>Bytes of an arena in which <see cref="Forward"/> can run that many tokens and logit rows, sampling included.</summary>
    internal static long ArenaBytes(ModelConfig config, int tokens, int logitRows)
    {
        long logits = (long)logitRows * config.VocabularySize * sizeof(float);
        return LayerScratch.Bytes(config, tokens) + 2 * Arena.Rounded(logits) + 2 * Arena.Rounded((long)logitRows * config.HiddenSize * sizeof(float));
    }

    private DeviceMatrix Logits(Operators operators, in StepBatch batch, Arena arena, in DeviceMatrix x, in DeviceMatrix residual)
    {
        int rows = batch.LogitTokens.Length;
        DeviceMatrix hidden = arena.Matrix(DType.F32, rows, Config.HiddenSize), last = arena.Matrix(DType.F32, rows, Config.HiddenSize);
        DeviceMatrix logits = arena.Matrix(DType.F32, rows, Config.VocabularySize);
        operators.Embed(batch.LogitTokens, residual, hidden);
        operators.Embed(batch.LogitTokens, x, last);
        operators.AddRmsNorm(last, hidden, _finalNorm, Config.RmsNormEpsilon, last);
        _head.Apply(operators, last, logits);
        return logits;
    }

    private sealed class Layer(Device device, Checkpoint checkpoint, ModelConfig config, string name)
    {
        public DeviceMatrix AttentionNorm { get; } = checkpoint.Load(device, name + ".input_layernorm.weight", 1, config.HiddenSize);

        public AttentionLayer Attention { get; } = new(device, checkpoint, config, name + ".self_attn");

        public DeviceMatrix MlpNorm { get; } = checkpoint.Load(device, name + ".post_attention_layernorm.weight", 1, config.HiddenSize);

        public MlpLayer Mlp { get; } = new(device, checkpoint, config, name + ".mlp");
    }
}
