using System.Numerics;

namespace KernelForge.Inference;

/// <summary>
/// Weighted least squares with coefficients that are not negative, for a few terms: every set of terms is solved for, and the best of those without a negative
/// coefficient is taken. That is the optimum.
/// </summary>
internal sealed class NonNegativeFit
{
    private const double Singular = 1e-9;

    private readonly int _terms;
    private readonly double[] _gram, _products, _scales;

    /// <summary>Starts without observations, with up to 16 terms.</summary>
    public NonNegativeFit(int terms)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(terms, 16);
        (_terms, _gram, _products, _scales) = (terms, new double[terms * terms], new double[terms], new double[terms]);
    }

    /// <summary>Wants Σ coefficient · term to be the value, as much as the weight says.</summary>
    public void Add(ReadOnlySpan<double> terms, double value, double weight)
    {
        for (int i = 0; i < _terms; i++)
        {
            _products[i] += weight * terms[i] * value;
            for (int j = 0; j < _terms; j++) _gram[i * _terms + j] += weight * terms[i] * terms[j];
        }
    }

    /// <summary>The coefficients; 0 for terms that were never seen.</summary>
    public double[] Solve()
    {
        for (int i = 0; i < _terms; i++) _scales[i] = _gram[i * _terms + i] > 0 ? 1 / Math.Sqrt(_gram[i * _terms + i]) : 0;
        double[] best = new double[_terms];
        double bestGain = 0;
        for (uint set = 1; set < 1u << _terms; set++)
        {
            double[]? found = Solve(set);
            if (found is null) continue;
            double gain = 0; // by how much the sum of squares is less than with all coefficients 0
            for (int i = 0; i < _terms; i++) gain += found[i] * _products[i];
            if (gain > bestGain) (best, bestGain) = (found, gain);
        }
        return best;
    }

    /// <summary>The solution with only the terms of a set; null where one is negative or the terms cannot be told apart.</summary>
    private double[]? Solve(uint set)
    {
        int count = BitOperations.PopCount(set), width = count + 1;
        Span<int> terms = stackalloc int[count];
        for (int i = 0, next = 0; i < _terms; i++)
            if ((set >> i & 1) != 0) terms[next++] = i;

        Span<double> matrix = stackalloc double[count * width]; // scaled: ones on the diagonal
        for (int i = 0; i < count; i++)
        {
            double scale = _scales[terms[i]];
            if (scale == 0) return null;
            for (int j = 0; j < count; j++) matrix[i * width + j] = scale * _scales[terms[j]] * _gram[terms[i] * _terms + terms[j]];
            matrix[i * width + count] = scale * _products[terms[i]];
        }
        if (!Eliminate(matrix, count)) return null;

        var solution = new double[_terms];
        for (int i = 0; i < count; i++)
        {
            double value = matrix[i * width + count];
            if (value < 0) return null;
            solution[terms[i]] = value * _scales[terms[i]];
        }
        return solution;
    }

    /// <summary>Gauss–Jordan on a positive definite matrix with its right-hand side; false where it is singular.</summary>
    private static bool Eliminate(Span<double> matrix, int count)
    {
        int width = count + 1;
        for (int pivot = 0; pivot < count; pivot++)
        {
            Span<double> row = matrix.Slice(pivot * width, width);
            double diagonal = row[pivot];
            if (diagonal < Singular) return false;
            foreach (ref double value in row) value /= diagonal;
            for (int other = 0; other < count; other++)
            {
                if (other == pivot) continue;
                double factor = matrix[other * width + pivot];
                for (int j = 0; j < width; j++) matrix[other * width + j] -= factor * row[j];
            }
        }
        return true;
    }
}
