using System.Runtime.Intrinsics;
using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>A few outputs on their way through <see cref="GptqQuantizer"/>: outputs do not influence each other, but share the reading of U. One thread's own.</summary>
internal sealed class GptqStrip
{
    /// <summary>Outputs of a strip: their accumulators fit into registers.</summary>
    public const int MaxRows = 8;

    private const int Block = 128; // inputs whose errors are handed on together; a multiple of every group size

    private readonly InverseFactor _factor;
    private readonly WeightFormat _format;
    private readonly DType _scaleType;
    private readonly int _k, _groups;
    private readonly double[] _weights; // [rows, k], in the order of work
    private readonly double[] _errors = new double[Block * MaxRows]; // [block, rows]
    private readonly byte[] _codes; // [rows, k]
    private readonly WeightGrid[] _grids; // [rows, groups]
    private readonly float[] _group;
    private int _rows;

    public GptqStrip(InverseFactor factor, WeightFormat format, DType scaleType)
    {
        (_factor, _format, _scaleType, _k, _groups) = (factor, format, scaleType, factor.K, format.Groups(factor.K));
        _weights = new double[MaxRows * _k];
        _codes = new byte[MaxRows * _k];
        _grids = new WeightGrid[MaxRows * _groups];
        _group = new float[_k / _groups];
    }

    /// <summary>Chooses codes and grids.</summary>
    /// <param name="weights">[rows, k].</param>
    /// <param name="order">Which input comes first, second, ...</param>
    /// <param name="cancellation">Looked at after every block.</param>
    public void Quantize(ReadOnlySpan2D<float> weights, ReadOnlySpan<int> order, CancellationToken cancellation)
    {
        _rows = weights.Height;
        Array.Clear(_weights);
        for (int row = 0; row < _rows; row++)
        {
            ReadOnlySpan<float> source = weights.GetRowSpan(row);
            for (int j = 0; j < _k; j++) _weights[row * _k + j] = source[order[j]];
        }
        for (int start = 0; start < _k; start += Block)
        {
            cancellation.ThrowIfCancellationRequested();
            int end = Math.Min(start + Block, _k);
            for (int j = start; j < end; j++) QuantizeInput(j, start, end);
            HandOn(start, end);
        }
    }

    /// <summary>Copies the results to rows of whole matrices.</summary>
    /// <param name="codes">[n, k].</param>
    /// <param name="scales">[n, groups].</param>
    /// <param name="zeros">[n, groups], or null.</param>
    /// <param name="first">The row of this strip's first.</param>
    /// <param name="places">Where the code of the first, second, ... input of the order of work goes; null to leave that order.</param>
    public void CopyTo(byte[] codes, float[] scales, byte[]? zeros, int first, int[]? places)
    {
        for (int row = 0; row < _rows; row++)
        {
            long to = (first + row) * (long)_k;
            for (int j = 0; j < _k; j++) codes[to + (places is null ? j : places[j])] = _codes[row * _k + j];
            for (int group = 0; group < _groups; group++)
            {
                WeightGrid grid = _grids[row * _groups + group];
                long at = (first + row) * (long)_groups + group;
                scales[at] = grid.Scale;
                if (zeros is not null) zeros[at] = (byte)grid.Zero;
            }
        }
    }

    /// <summary>Rounds weight j of every output and lets the rest of the block make up for it.</summary>
    private void QuantizeInput(int j, int start, int end)
    {
        int group = j / _group.Length;
        ReadOnlySpan<double> row = _factor.Row(j, j)[..(end - j)];
        for (int output = 0; output < _rows; output++)
        {
            Span<double> weights = _weights.AsSpan(output * _k + j, end - j);
            ref WeightGrid grid = ref _grids[output * _groups + group];
            if (j % _group.Length == 0) grid = GridOf(output, j);
            int code = grid.Code((float)weights[0]);
            double error = (weights[0] - grid.Value(code)) / row[0];
            _codes[output * _k + j] = (byte)code;
            _errors[(j - start) * MaxRows + output] = error;
            for (int i = 1; i < row.Length; i++) weights[i] = Math.FusedMultiplyAdd(-error, row[i], weights[i]);
        }
    }

    /// <summary>The grid of the group that starts with weight j, for the weights as they now are.</summary>
    private WeightGrid GridOf(int output, int j)
    {
        for (int i = 0; i < _group.Length; i++) _group[i] = (float)_weights[output * _k + j + i];
        return WeightGrid.Of(_group, _format, _scaleType);
    }

    /// <summary>Subtracts the block's errors · U from all weights behind the block.</summary>
    private void HandOn(int start, int end)
    {
        int column = end;
        for (; column <= _k - Vector512<double>.Count; column += Vector512<double>.Count) HandOnVector(start, end, column);
        for (; column < _k; column++)
            for (int output = 0; output < _rows; output++)
            {
                double sum = _weights[output * _k + column];
                for (int j = start; j < end; j++) sum = Math.FusedMultiplyAdd(-_errors[(j - start) * MaxRows + output], _factor.Row(j, column)[0], sum);
                _weights[output * _k + column] = sum;
            }
    }

    /// <summary>The same for a vector of columns; outputs that are not there count as 0.</summary>
    private void HandOnVector(int start, int end, int column)
    {
        Vector512<double> s0 = Load(0, column), s1 = Load(1, column), s2 = Load(2, column), s3 = Load(3, column);
        Vector512<double> s4 = Load(4, column), s5 = Load(5, column), s6 = Load(6, column), s7 = Load(7, column);
        for (int j = start; j < end; j++)
        {
            Vector512<double> row = Vector512.Create(_factor.Row(j, column));
            ReadOnlySpan<double> errors = _errors.AsSpan((j - start) * MaxRows, MaxRows);
            s0 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[0]), row, s0);
            s1 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[1]), row, s1);
            s2 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[2]), row, s2);
            s3 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[3]), row, s3);
            s4 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[4]), row, s4);
            s5 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[5]), row, s5);
            s6 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[6]), row, s6);
            s7 = Vector512.FusedMultiplyAdd(Vector512.Create(-errors[7]), row, s7);
        }
        Store(s0, 0, column);
        Store(s1, 1, column);
        Store(s2, 2, column);
        Store(s3, 3, column);
        Store(s4, 4, column);
        Store(s5, 5, column);
        Store(s6, 6, column);
        Store(s7, 7, column);
    }

    private Vector512<double> Load(int output, int column) => Vector512.Create<double>(_weights.AsSpan(output * _k + column));

    private void Store(Vector512<double> sum, int output, int column) => sum.CopyTo(_weights.AsSpan(output * _k + column));
}
