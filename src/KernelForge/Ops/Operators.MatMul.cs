namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// result = x · weightsᵀ + bias, then + residual. A result element is reduced over k in an order that depends on the shape of the weights alone, so its
    /// bits are the same whatever the number of rows. The product is rounded to the result's type before the residual is added, as <see cref="AddRmsNorm"/> does.
    /// </summary>
    /// <param name="x">[rows, k].</param>
    /// <param name="weights">[n, k]: one output's weights after the other, as checkpoints store them.</param>
    /// <param name="result">[rows, n].</param>
    /// <param name="bias">[1, n], or default for none.</param>
    /// <param name="residual">Of the shape and type of the result, which it may be; default for none.</param>
    public void MatMul(
        in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias = default, in DeviceMatrix residual = default)
    {
        CheckFloat("MatMul", "x", x);
        CheckFloat("MatMul", "weights", weights);
        Check.That(weights.Columns == x.Columns, $"MatMul: weights are {weights} for x {x}; both need the same number of columns (k)");
        CheckFloat("MatMul", "result", result, x.Rows, weights.Rows);
        if (!bias.IsEmpty) CheckFloat("MatMul", "bias", bias, 1, weights.Rows);
        CheckResidual("MatMul", residual, result);
        if (!result.IsEmpty) MatMulCore(x, weights, result, bias, residual);
    }

    /// <summary>
    /// The same product with weights in the order of the CPU, with the same bits. Of gated weights result = silu(gate) · up; every step rounds as the products
    /// of gate and up projection, <see cref="SiluMul"/> and <see cref="AddRmsNorm"/> do one after the other.
    /// </summary>
    /// <param name="x">[rows, k].</param>
    /// <param name="weights">On this device.</param>
    /// <param name="result">[rows, n], or [rows, n / 2] for gated weights.</param>
    /// <param name="bias">[1, n], gates first; default for none.</param>
    /// <param name="residual">Of the shape and type of the result, which it may be; default for none.</param>
    /// <param name="activations">What x is rounded to first: nothing, or BF16.</param>
    /// <exception cref="ArgumentException">A shape, type, device or precision does not fit; says what was expected and what came.</exception>
    /// <exception cref="NotSupportedException">The device is no CPU.</exception>
    public void MatMul(in DeviceMatrix x, DenseWeights weights, in DeviceMatrix result, in DeviceMatrix bias = default, in DeviceMatrix residual = default,
        ActivationPrecision activations = ActivationPrecision.Full)
    {
        ArgumentNullException.ThrowIfNull(weights);
        CheckHere("MatMul", weights.Device, isEmpty: false);
        CheckFloat("MatMul", "x", x);
        Check.That(x.Columns == weights.K, $"MatMul: weights are {weights} for x {x}; x needs {weights.K} columns");
        CheckFloat("MatMul", "result", result, x.Rows, weights.ResultColumns);
        if (!bias.IsEmpty) CheckFloat("MatMul", "bias", bias, 1, weights.N);
        CheckResidual("MatMul", residual, result);
        Check.That(activations is ActivationPrecision.Full or ActivationPrecision.BF16,
            $"MatMul: activations are {activations}, expected Full or BF16 with dense weights");
        if (!result.IsEmpty) MatMulCore(x, weights, result, bias, residual, activations);
    }

    /// <summary>Computes the product with dense weights on checked arguments.</summary>
    protected abstract void MatMulCore(
        in DeviceMatrix x, DenseWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations);

    /// <summary>Computes the product with a row-major matrix on checked arguments; k may be 0.</summary>
    protected abstract void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual);
}
