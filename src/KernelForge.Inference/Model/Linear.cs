namespace KernelForge.Inference;

/// <summary>y = x · Wᵀ + b with the model's weights.</summary>
/// <param name="Weights">[outputs, inputs].</param>
/// <param name="Bias">[1, outputs], or empty.</param>
internal readonly record struct Linear(DeviceMatrix Weights, DeviceMatrix Bias)
{
    public static Linear Load(ModelWeights weights, string name, int outputs, int inputs, bool hasBias) => new(
        weights.Load(name + ".weight", outputs, inputs),
        hasBias ? weights.Load(name + ".bias", 1, outputs) : default);

    public void Apply(Operators operators, in DeviceMatrix x, in DeviceMatrix result) => operators.MatMul(x, Weights, result, Bias);
}
