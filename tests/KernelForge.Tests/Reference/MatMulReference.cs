namespace KernelForge.Tests;

/// <summary>x · weightsᵀ + bias in double precision.</summary>
public static class MatMulReference
{
    /// <summary>The product, row after row, and for each element the sum of the absolute values of its terms.</summary>
    public static (double[] Result, double[] Magnitude) Multiply(float[,] x, float[,] weights, float[]? bias = null)
    {
        int rows = x.GetLength(0), columns = weights.GetLength(0), k = x.GetLength(1);
        var result = new double[rows * columns];
        var magnitude = new double[rows * columns];
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < columns; column++)
            {
                double sum = bias?[column] ?? 0, absolute = Math.Abs(sum);
                for (int i = 0; i < k; i++)
                {
                    double product = (double)x[row, i] * weights[column, i];
                    sum += product;
                    absolute += Math.Abs(product);
                }
                (result[row * columns + column], magnitude[row * columns + column]) = (sum, absolute);
            }
        return (result, magnitude);
    }
}
