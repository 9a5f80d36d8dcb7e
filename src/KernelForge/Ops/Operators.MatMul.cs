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

    /// <summary>Computes <see cref="MatMul"/> on checked arguments; k may be 0.</summary>
    protected abstract void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual);
}
