namespace KernelForge.Inference;

/// <summary>Gated MLP of one layer: down(silu(gate(x)) · up(x)). Quantised gate and up projections are one product where they agree.</summary>
internal sealed class MlpLayer
{
    private readonly PackedWeights? _gated;
    private readonly Linear _gate, _up, _down;

    public MlpLayer(ModelWeights weights, ModelConfig config, string name)
    {
        (int inner, int hidden, bool hasBias) = (config.MlpSize, config.HiddenSize, config.MlpBias);
        if (!hasBias) _gated = weights.LoadGated(name + ".gate_proj", name + ".up_proj", inner, hidden);
        if (_gated is null)
        {
            _gate = Linear.Load(weights, name + ".gate_proj", inner, hidden, hasBias);
            _up = Linear.Load(weights, name + ".up_proj", inner, hidden, hasBias);
        }
        _down = Linear.Load(weights, name + ".down_proj", hidden, inner, hasBias);
    }

    /// <summary>Adds the MLP's output for <paramref name="x"/> to the residual stream.</summary>
    public void Apply(Operators operators, in DeviceMatrix x, in LayerScratch scratch, ILinearObserver? observer)
    {
        observer?.Observe(LinearInput.Mlp, x);
        if (_gated is not null) operators.MatMulPacked(x, _gated, scratch.Gate);
        else
        {
            _gate.Apply(operators, x, scratch.Gate);
            _up.Apply(operators, x, scratch.Up);
            operators.SiluMul(scratch.Gate, scratch.Up, scratch.Gate);
        }
        observer?.Observe(LinearInput.MlpOutput, scratch.Gate);
        _down.Apply(operators, scratch.Gate, scratch.Residual, scratch.Residual);
    }
}
