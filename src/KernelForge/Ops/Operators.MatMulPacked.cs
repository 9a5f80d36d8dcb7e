namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// result = x · weightsᵀ + bias, then + residual, with 4-bit weights. Codes are widened exactly; each group's products are summed and then multiplied by
    /// its scale, so nothing is rounded but sums. Of gated weights result = silu(gate) · up. A result element has the same bits whatever the number of rows.
    /// Every step rounds as the operators <see cref="MatMul(in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix)"/>, <see cref="SiluMul"/> and <see cref="AddRmsNorm"/> do one after the other.
    /// </summary>
    /// <param name="x">[rows, k].</param>
    /// <param name="weights">On this device.</param>
    /// <param name="result">[rows, n], or [rows, n / 2] for gated weights.</param>
    /// <param name="bias">[1, n], gates first; default for none.</param>
    /// <param name="residual">Of the shape and type of the result, which it may be; default for none.</param>
    /// <param name="activations">What x is rounded to first; on CUDA devices nothing.</param>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; says what was expected and what came.</exception>
    /// <remarks>
    /// <para>
    /// Limits: any number of rows, outputs and, per channel, inputs; in groups, k is a multiple of the group size. On CUDA devices x and bias are F16 or BF16, and
    /// rows that start at multiples of 16 bytes are faster. Before the epilogue an element is off the exact product with the dequantised weights by one rounding
    /// to the result's type and at most 4 · √k · 2⁻²⁴ · Σ |xᵢ wᵢ|: the bound that tests use.
    /// With <see cref="ActivationPrecision.Int8"/> that holds for x as it is rounded.
    /// </para>
    /// <para>MARLIN, arXiv:2408.11743; the order of sums is that of native/README.md on CUDA devices, that of src/README.md on the CPU.</para>
    /// </remarks>
    public void MatMulW4(in DeviceMatrix x, W4Weights weights, in DeviceMatrix result, in DeviceMatrix bias = default, in DeviceMatrix residual = default,
        ActivationPrecision activations = ActivationPrecision.Full) => CheckAndMultiply("MatMulW4", x, weights, result, bias, residual, activations);

    /// <summary><see cref="MatMulW4"/> with 8-bit weights.</summary>
    public void MatMulW8(in DeviceMatrix x, W8Weights weights, in DeviceMatrix result, in DeviceMatrix bias = default, in DeviceMatrix residual = default,
        ActivationPrecision activations = ActivationPrecision.Full) => CheckAndMultiply("MatMulW8", x, weights, result, bias, residual, activations);

    /// <summary><see cref="MatMulW4"/> or <see cref="MatMulW8"/>, whichever the weights are for.</summary>
    public void MatMulPacked(in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias = default, in DeviceMatrix residual = default,
        ActivationPrecision activations = ActivationPrecision.Full) => CheckAndMultiply("MatMulPacked", x, weights, result, bias, residual, activations);

    /// <summary>Computes <see cref="MatMulW4"/> or <see cref="MatMulW8"/> on checked arguments.</summary>
    protected abstract void MatMulPackedCore(
        in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations);

    private void CheckAndMultiply(
        string operation, in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations)
    {
        ArgumentNullException.ThrowIfNull(weights);
        CheckHere(operation, weights.Device, isEmpty: false);
        CheckFloat(operation, "x", x);
        Check.That(x.Columns == weights.K, $"{operation}: weights are {weights} for x {x}; x needs {weights.K} columns");
        CheckFloat(operation, "result", result, x.Rows, weights.ResultColumns);
        if (!bias.IsEmpty) CheckFloat(operation, "bias", bias, 1, weights.N);
        CheckResidual(operation, residual, result);
        Check.That(Enum.IsDefined(activations), $"{operation}: activations are {activations}, expected Full, BF16 or Int8");
        Check.That(activations == ActivationPrecision.Full || Device.IsCpu, $"{operation}: activations are {activations}, expected Full on {Device.Name}");
        if (!result.IsEmpty) MatMulPackedCore(x, weights, result, bias, residual, activations);
    }

    private void CheckResidual(string operation, in DeviceMatrix residual, in DeviceMatrix result)
    {
        if (residual.IsEmpty) return;
        CheckFloat(operation, "residual", residual, result.Rows, result.Columns);
        Check.That(residual.DType == result.DType, $"{operation}: residual is {residual}, expected the type of the result, {result.DType}");
    }
}
