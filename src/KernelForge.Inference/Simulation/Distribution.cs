namespace KernelForge.Inference;

/// <summary>Percentiles of many times in seconds, exact: equal ones that follow each other are kept as one.</summary>
internal sealed class Distribution
{
    private readonly List<(double Value, long Count)> _values = [];

    public void Add(double value, int count = 1)
    {
        if (_values.Count > 0 && _values[^1].Value == value) _values[^1] = (value, _values[^1].Count + count);
        else _values.Add((value, count));
    }

    /// <summary>All zero when there are no values.</summary>
    public LatencySummary Summarize()
    {
        if (_values.Count == 0) return default;
        _values.Sort();
        long count = 0;
        double sum = 0;
        foreach ((double value, long times) in _values) (count, sum) = (count + times, sum + value * times);
        return new LatencySummary(count, TimeSpan.FromSeconds(sum / count), At(0.5, count), At(0.9, count), At(0.99, count), At(1, count));
    }

    /// <summary>The smallest value that so large a share of the values does not exceed.</summary>
    private TimeSpan At(double share, long count)
    {
        long rank = (long)Math.Ceiling(share * count), seen = 0;
        foreach ((double value, long times) in _values)
        {
            seen += times;
            if (seen >= rank) return TimeSpan.FromSeconds(value);
        }
        return TimeSpan.FromSeconds(_values[^1].Value);
    }
}
