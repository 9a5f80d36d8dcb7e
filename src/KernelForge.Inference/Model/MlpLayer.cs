namespace KernelForge.Inference;

/// <summary>Gated MLP of one layer: down(silu(gate(x)) · up(x)). Packed gate and up projections are one product where they agree.</summary>
internal sealed class MlpLayer
{
    private readonly Linear _gated, _gate, _up, _down;
    private readonly bool _isGated;

    public MlpLayer(ModelWeights weights, ModelConfig config, string name)
    {
        (int inner, int hidden, bool hasBias) = (config.MlpSize, config.HiddenSize, config.MlpBias);
        _isGated = !hasBias && Linear.TryLoadGated(weights, name + ".gate_proj", name + ".up_proj", inner, hidden, out _gated);
        if (!_isGated)
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
        if (_isGated) _gated.Apply(operators, x, scratch.Gate);
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
