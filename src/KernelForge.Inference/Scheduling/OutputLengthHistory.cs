namespace KernelForge.Inference;

/// <summary>
/// Lengths of the last outputs of each task class, and what they say of an output that is not yet at its end (Past-Future scheduler,
/// arXiv:2507.10150: neighbouring windows of a thousand requests have lengths alike).
/// </summary>
/// <param name="window">Outputs remembered of a class.</param>
/// <param name="firstUnknown">Outputs as long as they may be that a class starts with; each that ends takes the place of one.</param>
public sealed class OutputLengthHistory(int window, int firstUnknown)
{
    private readonly Dictionary<string, Lengths> _classes = [];
    private string? _lastClass;
    private Lengths? _lastLengths;

    /// <summary>Remembers an output, in place of the oldest of its class where there are more than the window holds.</summary>
    public void Add(in EndedOutput ended)
    {
        if (!_classes.TryGetValue(ended.TaskClass, out Lengths? lengths))
        {
            _classes[ended.TaskClass] = lengths = new Lengths(window);
            (_lastClass, _lastLengths) = (null, null);
        }
        lengths.Add(ended.Tokens);
    }

    /// <summary>
    /// Tokens that are left of an output if it is the one at <paramref name="quantile"/>, in [0, 1), of those remembered that are longer than what is
    /// generated. One that is as long as it may be is taken to be among them, and as many more as the class has ended too few.
    /// </summary>
    public int TokensLeft(in OutputSoFar output, double quantile)
    {
        if (LengthsOf(output.TaskClass) is not { } lengths) return output.MostLeft;

        ReadOnlySpan<int> longer = lengths.LongerThan(output.Generated);
        int unknown = 1 + Math.Max(0, firstUnknown - lengths.Count), place = (int)(quantile * (longer.Length + unknown));
        return place < longer.Length ? Math.Min(longer[place] - output.Generated, output.MostLeft) : output.MostLeft;
    }

    /// <summary>Neighbours mostly are of one class: it is looked up once.</summary>
    private Lengths? LengthsOf(string taskClass)
    {
        if (ReferenceEquals(taskClass, _lastClass)) return _lastLengths;
        _lastClass = taskClass;
        return _classes.TryGetValue(taskClass, out _lastLengths) ? _lastLengths : null;
    }

    /// <summary>The last lengths, in order of their ends and sorted.</summary>
    private sealed class Lengths(int window)
    {
        private readonly int[] _byEnd = new int[window], _sorted = new int[window];
        private int _next;

        public int Count { get; private set; }

        public void Add(int length)
        {
            if (Count == window) Remove(_byEnd[_next]);
            _byEnd[_next] = length;
            _next = (_next + 1) % window;

            int place = UpTo(length);
            Array.Copy(_sorted, place, _sorted, place + 1, Count - place);
            _sorted[place] = length;
            Count++;
        }

        /// <summary>Lengths above <paramref name="length"/>, ascending.</summary>
        public ReadOnlySpan<int> LongerThan(int length) => _sorted.AsSpan(0, Count)[UpTo(length)..];

        private void Remove(int length)
        {
            int place = UpTo(length) - 1;
            Array.Copy(_sorted, place + 1, _sorted, place, Count - place - 1);
            Count--;
        }

        /// <summary>Number of lengths up to <paramref name="length"/>.</summary>
        private int UpTo(int length)
        {
            int low = 0, high = Count;
            while (low < high)
            {
                int middle = (low + high) / 2;
                if (_sorted[middle] <= length) low = middle + 1;
                else high = middle;
            }
            return low;
        }
    }
}
