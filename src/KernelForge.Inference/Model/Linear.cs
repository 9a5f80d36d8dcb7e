namespace KernelForge.Inference;

/// <summary>y = x · Wᵀ + b with the model's weights, dense or quantised; y + residual where one is given.</summary>
/// <param name="Rows">[outputs, inputs] as the checkpoint has them; empty where they are packed or quantised.</param>
/// <param name="Dense">Packed weights, or null.</param>
/// <param name="Quantized">Quantised weights, or null.</param>
/// <param name="Bias">[1, outputs], or empty.</param>
/// <param name="Activations">What x is rounded to; with dense weights BF16 instead of int8.</param>
internal readonly record struct Linear(DeviceMatrix Rows, DenseWeights? Dense, PackedWeights? Quantized, DeviceMatrix Bias, ActivationPrecision Activations)
{
    public static Linear Load(ModelWeights weights, string name, int outputs, int inputs, bool hasBias)
    {
        Linear linear = weights.LoadPacked(name, outputs, inputs) is { } quantized
            ? new(default, null, quantized, default, weights.Activations)
            : LoadDense(weights, name + ".weight", outputs, inputs);
        return hasBias ? linear with { Bias = weights.Load(name + ".bias", 1, outputs) } : linear;
    }

    /// <summary>Dense weights from a tensor, without a bias: packed where products want that.</summary>
    public static Linear LoadDense(ModelWeights weights, string tensor, int outputs, int inputs) =>
        weights.LoadDense(tensor, outputs, inputs) is { } dense
            ? new(default, dense, null, default, weights.Activations)
            : new(weights.Load(tensor, outputs, inputs), null, null, default, ActivationPrecision.Full);

    /// <summary>
    /// Gate and up projection of an MLP in one: its result is silu(gate(x)) · up(x). False where they are not packed, or differ in format or order.
    /// </summary>
    public static bool TryLoadGated(ModelWeights weights, string gate, string up, int outputs, int inputs, out Linear linear)
    {
        PackedWeights? quantized = weights.LoadGated(gate, up, outputs, inputs);
        DenseWeights? dense = quantized is null ? weights.LoadDenseGated(gate, up, outputs, inputs) : null;
        linear = new Linear(default, dense, quantized, default, weights.Activations);
        return dense is not null || quantized is not null;
    }

    /// <summary>The result may be the residual.</summary>
    public void Apply(Operators operators, in DeviceMatrix x, in DeviceMatrix result, in DeviceMatrix residual = default)
    {
        if (Dense is not null) operators.MatMul(x, Dense, result, Bias, residual, Activations == ActivationPrecision.Int8 ? ActivationPrecision.BF16 : Activations);
        else if (Quantized is not null) operators.MatMulPacked(x, Quantized, result, Bias, residual, Activations);
        else operators.MatMul(x, Rows, result, Bias, residual);
    }
}
