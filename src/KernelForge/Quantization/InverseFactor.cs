using System.Runtime.Intrinsics;
using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>
/// The upper triangle U with (H + damping)⁻¹ = Uᵀ · U, in double precision: row j holds what an error in weight j asks of the weights after it.
/// The bits do not depend on threads or vector width.
/// </summary>
/// <remarks>
/// H = R · Rᵀ with R upper is a Cholesky decomposition from the last row to the first, and U = R⁻¹. Both steps are dot products of rows: R lies in the upper
/// triangle, and once it is complete its mirror in the lower triangle gives the columns that the inversion needs as rows, while U takes the place of R.
/// </remarks>
internal sealed class InverseFactor
{
    private const int Block = 32;

    private readonly double[] _values; // [k, k]
    private readonly double[] _diagonal;

    private InverseFactor(double[] values, int k)
    {
        (_values, K) = (values, k);
        _diagonal = new double[k];
    }

    public int K { get; }

    /// <summary>Elements first .. K - 1 of row j, first at least j.</summary>
    public ReadOnlySpan<double> Row(int j, int first) => _values.AsSpan(j * K + first, K - first);

    /// <summary>Factors a symmetric matrix, rows and columns taken in an order. Inputs with 0 on the diagonal stand alone.</summary>
    /// <exception cref="ArgumentException">The matrix is not positive definite.</exception>
    public static InverseFactor Of(ReadOnlySpan2D<float> hessian, ReadOnlySpan<int> order, double damping, ParallelOptions parallel)
    {
        int k = order.Length;
        var values = new double[(long)k * k];
        double added = damping * MeanDiagonal(hessian);
        for (int i = 0; i < k; i++)
        {
            ReadOnlySpan<float> source = hessian.GetRowSpan(order[i]);
            Span<double> row = values.AsSpan(i * k, k);
            for (int j = i; j < k; j++) row[j] = source[order[j]];
            row[i] = row[i] > 0 ? row[i] + added : 1;
        }
        var factor = new InverseFactor(values, k);
        factor.Decompose(parallel);
        factor.Mirror();
        factor.Invert(parallel);
        return factor;
    }

    private static double MeanDiagonal(ReadOnlySpan2D<float> hessian)
    {
        double sum = 0;
        for (int i = 0; i < hessian.Height; i++) sum += hessian[i, i];
        return sum / hessian.Height;
    }

    /// <summary>H to R, blocks of columns from the last to the first.</summary>
    private void Decompose(ParallelOptions parallel)
    {
        for (int end = K; end > 0; end -= Block)
        {
            int start = Math.Max(0, end - Block);
            for (int i = end - 1; i >= start; i--)
            {
                DecomposeRow(i, i + 1, end);
                ReadOnlySpan<double> row = Row(i, i + 1);
                double pivot = _values[i * K + i] - Dot(row, row);
                Check.That(pivot > 0, $"GptqQuantizer: the Hessian is not positive definite (pivot {pivot} at {i} of {K}); expected a sum of x · xᵀ, or more damping");
                _values[i * K + i] = Math.Sqrt(pivot);
            }
            Parallel.For(0, start, parallel, i => DecomposeRow(i, start, end));
        }
        for (int i = 0; i < K; i++) _diagonal[i] = _values[i * K + i];
    }

    /// <summary>Elements start .. end - 1 of a row of R, behind which the row is complete.</summary>
    private void DecomposeRow(int i, int start, int end)
    {
        for (int j = end - 1; j >= start; j--)
            _values[i * K + j] = (_values[i * K + j] - Dot(Row(i, j + 1), Row(j, j + 1))) / _values[j * K + j];
    }

    private void Mirror()
    {
        for (int i = 0; i < K; i++)
            for (int j = i + 1; j < K; j++) _values[j * K + i] = _values[i * K + j];
    }

    /// <summary>R to U, some rows at a time, which share the reading of R.</summary>
    private void Invert(ParallelOptions parallel)
    {
        const int Rows = 8;
        Parallel.For(0, (K + Rows - 1) / Rows, parallel, group =>
        {
            int first = group * Rows, end = Math.Min(K, first + Rows);
            for (int i = first; i < end; i++) _values[i * K + i] = 1 / _diagonal[i];
            for (int j = first + 1; j < K; j++)
                for (int i = first; i < Math.Min(j, end); i++)
                    _values[i * K + j] = -Dot(_values.AsSpan(i * K + i, j - i), _values.AsSpan(j * K + i, j - i)) / _diagonal[j];
        });
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        Vector512<double> even = Vector512<double>.Zero, odd = Vector512<double>.Zero;
        int i = 0, width = Vector512<double>.Count;
        for (; i <= a.Length - 2 * width; i += 2 * width)
        {
            even = Vector512.FusedMultiplyAdd(Vector512.Create(a[i..]), Vector512.Create(b[i..]), even);
            odd = Vector512.FusedMultiplyAdd(Vector512.Create(a[(i + width)..]), Vector512.Create(b[(i + width)..]), odd);
        }
        double sum = Vector512.Sum(even + odd);
        for (; i < a.Length; i++) sum = Math.FusedMultiplyAdd(a[i], b[i], sum);
        return sum;
    }
}
