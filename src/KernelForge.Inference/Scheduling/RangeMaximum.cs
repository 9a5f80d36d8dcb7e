namespace KernelForge.Inference;

/// <summary>The largest of any run of numbers, in logarithmic time: a tournament tree over them.</summary>
internal sealed class RangeMaximum
{
    private long[] _nodes = [];
    private int _count;

    /// <summary>Takes the numbers in time proportional to their count.</summary>
    public void Set(ReadOnlySpan<long> values)
    {
        _count = values.Length;
        if (_nodes.Length < 2 * _count) _nodes = new long[4 * _count];
        values.CopyTo(_nodes.AsSpan(_count));
        for (int node = _count - 1; node > 0; node--) _nodes[node] = Math.Max(_nodes[2 * node], _nodes[2 * node + 1]);
    }

    /// <summary>The largest number with an index in [low, high); <see cref="long.MinValue"/> when there is none.</summary>
    public long Of(int low, int high)
    {
        long largest = long.MinValue;
        for (low += _count, high += _count; low < high; low /= 2, high /= 2)
        {
            if (low % 2 == 1) largest = Math.Max(largest, _nodes[low++]);
            if (high % 2 == 1) largest = Math.Max(largest, _nodes[--high]);
        }
        return largest;
    }
}
