using CommunityToolkit.HighPerformance;

namespace KernelForge.Inference;

/// <summary>Sums up what quantisation changes, matrix by matrix.</summary>
internal sealed class QuantizationErrors
{
    private const int SampledOutputs = 64;

    private double _weights, _outputs, _roundingOutputs;
    private int _matrices, _observed;

    /// <summary>Mean of ‖W − Q‖ / ‖W‖.</summary>
    public double Weights => _matrices == 0 ? 0 : _weights / _matrices;

    /// <summary>Mean of ‖x · (W − Q)ᵀ‖ / ‖x · Wᵀ‖ of sampled outputs, and the same for weights rounded to nearest; null when no Hessian was given.</summary>
    public (double Quantized, double Rounded)? Outputs => _observed == 0 ? null : (_outputs / _observed, _roundingOutputs / _observed);

    /// <summary>Counts a matrix.</summary>
    /// <param name="weights">[n, k].</param>
    /// <param name="quantized">What became of it.</param>
    /// <param name="scaleType">Type of its scales.</param>
    /// <param name="hessian">Of its inputs, [k, k], or null.</param>
    public void Add(float[,] weights, QuantizedMatrix quantized, DType scaleType, float[,]? hessian)
    {
        float[,] difference = Difference(weights, quantized.Dequantize());
        _weights += Ratio(SumOfSquares(difference), SumOfSquares(weights));
        _matrices++;
        if (hessian is null) return;

        float[,] sample = Sample(weights);
        float[,] rounding = Difference(sample, QuantizedMatrix.Round(sample, quantized.Format, scaleType).Dequantize());
        double energy = Energy(sample, hessian);
        _outputs += Ratio(Energy(Sample(difference), hessian), energy);
        _roundingOutputs += Ratio(Energy(rounding, hessian), energy);
        _observed++;
    }

    private static double Ratio(double error, double whole) => whole > 0 ? Math.Sqrt(error / whole) : 0;

    private static float[,] Difference(float[,] a, float[,] b)
    {
        var result = new float[a.GetLength(0), a.GetLength(1)];
        Span<float> to = result.AsSpan(), minuend = a.AsSpan(), subtrahend = b.AsSpan();
        for (int i = 0; i < to.Length; i++) to[i] = minuend[i] - subtrahend[i];
        return result;
    }

    private static double SumOfSquares(float[,] matrix)
    {
        double sum = 0;
        foreach (float value in matrix.AsSpan()) sum += (double)value * value;
        return sum;
    }

    /// <summary>Rows spread over the matrix.</summary>
    private static float[,] Sample(float[,] matrix)
    {
        int n = matrix.GetLength(0), rows = Math.Min(n, SampledOutputs);
        var result = new float[rows, matrix.GetLength(1)];
        for (int row = 0; row < rows; row++) matrix.AsSpan2D().GetRowSpan((int)((long)row * n / rows)).CopyTo(result.AsSpan2D().GetRowSpan(row));
        return result;
    }

    /// <summary>Σ w · H · wᵀ over rows: the squares of x · wᵀ summed over calibration tokens.</summary>
    private static double Energy(float[,] rows, float[,] hessian)
    {
        int n = rows.GetLength(0), k = rows.GetLength(1);
        using DeviceBuffer weights = Device.Cpu.Upload<float>(rows), sums = Device.Cpu.Upload<float>(hessian), products = Device.Cpu.Allocate(DType.F32, (long)n * k);
        Device.Cpu.Operators.MatMul(weights.AsMatrix(n, k), sums.AsMatrix(k, k), products.AsMatrix(n, k));
        double energy = 0;
        for (int row = 0; row < n; row++)
        {
            ReadOnlySpan<float> product = products.AsMatrix(n, k).Row<float>(row);
            for (int i = 0; i < k; i++) energy += (double)product[i] * rows[row, i];
        }
        return energy;
    }
}
