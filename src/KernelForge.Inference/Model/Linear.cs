namespace KernelForge.Inference;

/// <summary>y = x · Wᵀ + b with the model's weights, dense or quantised; y + residual where one is given.</summary>
/// <param name="Weights">[outputs, inputs], or empty where they are quantised.</param>
/// <param name="Packed">Quantised weights, or null.</param>
/// <param name="Bias">[1, outputs], or empty.</param>
internal readonly record struct Linear(DeviceMatrix Weights, PackedWeights? Packed, DeviceMatrix Bias)
{
    public static Linear Load(ModelWeights weights, string name, int outputs, int inputs, bool hasBias)
    {
        PackedWeights? packed = weights.LoadPacked(name, outputs, inputs);
        DeviceMatrix dense = packed is null ? weights.Load(name + ".weight", outputs, inputs) : default;
        return new(dense, packed, hasBias ? weights.Load(name + ".bias", 1, outputs) : default);
    }

    /// <summary>The result may be the residual.</summary>
    public void Apply(Operators operators, in DeviceMatrix x, in DeviceMatrix result, in DeviceMatrix residual = default)
    {
        if (Packed is null) operators.MatMul(x, Weights, result, Bias, residual);
        else operators.MatMulPacked(x, Packed, result, Bias, residual);
    }
}
