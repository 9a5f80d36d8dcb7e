namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// result = x / sqrt(mean(x²) + epsilon) · weight, row by row. <paramref name="result"/> may be <paramref name="x"/>.
    /// </summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="weight">[1, columns].</param>
    /// <param name="epsilon">Added to the mean of squares.</param>
    /// <param name="result">[rows, columns].</param>
    public void RmsNorm(in DeviceMatrix x, in DeviceMatrix weight, float epsilon, in DeviceMatrix result)
    {
        CheckFloat("RmsNorm", "x", x);
        CheckFloat("RmsNorm", "weight", weight, 1, x.Columns);
        CheckFloat("RmsNorm", "result", result, x.Rows, x.Columns);
        if (!x.IsEmpty) RmsNormCore(x, weight, epsilon, result);
    }

    /// <summary>
    /// residual += x, then result = RmsNorm(residual): the step between two layers. The sum is rounded to the residual's type before it is normalised.
    /// <paramref name="result"/> may be <paramref name="x"/>.
    /// </summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="residual">[rows, columns], updated.</param>
    /// <param name="weight">[1, columns].</param>
    /// <param name="epsilon">Added to the mean of squares.</param>
    /// <param name="result">[rows, columns].</param>
    public void AddRmsNorm(in DeviceMatrix x, in DeviceMatrix residual, in DeviceMatrix weight, float epsilon, in DeviceMatrix result)
    {
        CheckFloat("AddRmsNorm", "x", x);
        CheckFloat("AddRmsNorm", "residual", residual, x.Rows, x.Columns);
        CheckFloat("AddRmsNorm", "weight", weight, 1, x.Columns);
        CheckFloat("AddRmsNorm", "result", result, x.Rows, x.Columns);
        if (!x.IsEmpty) AddRmsNormCore(x, residual, weight, epsilon, result);
    }

    /// <summary>Computes <see cref="RmsNorm"/> on checked arguments.</summary>
    protected abstract void RmsNormCore(in DeviceMatrix x, in DeviceMatrix weight, float epsilon, in DeviceMatrix result);

    /// <summary>Computes <see cref="AddRmsNorm"/> on checked arguments.</summary>
    protected abstract void AddRmsNormCore(in DeviceMatrix x, in DeviceMatrix residual, in DeviceMatrix weight, float epsilon, in DeviceMatrix result);
}
