namespace KernelForge.Inference;

/// <summary>y = x · Wᵀ + b with weights in the type the checkpoint stores.</summary>
/// <param name="Weights">[outputs, inputs].</param>
/// <param name="Bias">[1, outputs], or empty.</param>
internal readonly record struct Linear(DeviceMatrix Weights, DeviceMatrix Bias)
{
    public static Linear Load(Device device, Checkpoint checkpoint, string name, int outputs, int inputs, bool hasBias) => new(
        checkpoint.Load(device, name + ".weight", outputs, inputs),
        hasBias ? checkpoint.Load(device, name + ".bias", 1, outputs) : default);

    public void Apply(Operators operators, in DeviceMatrix x, in DeviceMatrix result) => operators.MatMul(x, Weights, result, Bias);
}
