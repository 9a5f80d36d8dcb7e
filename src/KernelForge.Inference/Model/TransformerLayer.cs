namespace KernelForge.Inference;

/// <summary>One layer: attention and MLP, each on the normalised residual stream.</summary>
internal sealed class TransformerLayer
{
    private readonly ModelConfig _config;
    private readonly DeviceMatrix _attentionNorm, _mlpNorm;
    private readonly AttentionLayer _attention;
    private readonly MlpLayer _mlp;

    public TransformerLayer(ModelWeights weights, ModelConfig config, int index)
    {
        _config = config;
        string name = NameOf(index);
        _attentionNorm = weights.Load(name + ".input_layernorm.weight", 1, config.HiddenSize);
        _attention = new AttentionLayer(weights, config, name + ".self_attn");
        _mlpNorm = weights.Load(name + ".post_attention_layernorm.weight", 1, config.HiddenSize);
        _mlp = new MlpLayer(weights, config, name + ".mlp");
    }

    /// <summary>What the names of a layer's tensors begin with, before a dot.</summary>
    public static string NameOf(int index) => $"model.layers.{index}";

    /// <summary>Takes the residual stream, which lies in the scratch memory, through the layer.</summary>
    public void Apply(
        Operators operators, in StepBatch batch, in KvLayer cache, in DeviceMatrix angles, in LayerScratch scratch, ILinearObserver? observer = null)
    {
        operators.RmsNorm(scratch.Residual, _attentionNorm, _config.RmsNormEpsilon, scratch.X);
        _attention.Apply(operators, scratch.X, batch, cache, angles, scratch, observer);
        operators.RmsNorm(scratch.Residual, _mlpNorm, _config.RmsNormEpsilon, scratch.X);
        _mlp.Apply(operators, scratch.X, scratch, observer);
    }
}
