namespace KernelForge.Inference;

/// <summary>Gated MLP of one layer: down(silu(gate(x)) · up(x)).</summary>
internal sealed class MlpLayer(ModelWeights weights, ModelConfig config, string name)
{
    private readonly Linear _gate = Linear.Load(weights, name + ".gate_proj", config.MlpSize, config.HiddenSize, config.MlpBias);
    private readonly Linear _up = Linear.Load(weights, name + ".up_proj", config.MlpSize, config.HiddenSize, config.MlpBias);
    private readonly Linear _down = Linear.Load(weights, name + ".down_proj", config.HiddenSize, config.MlpSize, config.MlpBias);

    /// <summary>Leaves the MLP's output for <paramref name="x"/> in it.</summary>
    public void Apply(Operators operators, in DeviceMatrix x, in LayerScratch scratch)
    {
        _gate.Apply(operators, x, scratch.Gate);
        _up.Apply(operators, x, scratch.Up);
        operators.SiluMul(scratch.Gate, scratch.Up, scratch.Gate);
        _down.Apply(operators, scratch.Gate, x);
    }
}
