namespace KernelForge.Inference;

/// <summary>
/// A few sizes for many shapes: what is executed in fixed shapes, such as captured graphs, is padded to the next of them (LAPS). Immutable.
/// </summary>
public sealed class ShapeBuckets
{
    private readonly int[] _sizes;

    /// <summary>Throws <see cref="ArgumentException"/> when a size is less than 1 or they do not ascend.</summary>
    public ShapeBuckets(ReadOnlySpan<int> sizes)
    {
        int before = 0;
        foreach (int size in sizes)
        {
            if (size <= before) throw new ArgumentException($"ShapeBuckets: sizes must ascend and be 1 or more, {size} follows {before}.", nameof(sizes));
            before = size;
        }
        _sizes = sizes.ToArray();
    }

    /// <summary>The sizes, ascending.</summary>
    public ReadOnlySpan<int> Sizes => _sizes;

    /// <summary>
    /// The sizes, at most <paramref name="count"/>, with the least padding for shapes that occur so often. The largest shape is one of them.
    /// </summary>
    /// <remarks>
    /// Some best ladder has only sizes that occur, so a dynamic program over the sorted shapes finds it: the least padding of the first i shapes in b buckets
    /// ends with a bucket for the shapes j to i. It takes shapes² · count steps.
    /// </remarks>
    /// <param name="histogram">Shapes of 1 or more and how often each is seen, or what weight it has, 0 or more. A shape may come more than once.</param>
    /// <param name="count">Most sizes, 1 or more.</param>
    /// <exception cref="ArgumentException">An argument is out of range.</exception>
    public static ShapeBuckets Best(IEnumerable<(int Size, long Weight)> histogram, int count)
    {
        if (count < 1) throw new ArgumentException($"ShapeBuckets: the number of sizes must be 1 or more, not {count}.", nameof(count));
        (int Size, long Weight)[] shapes = [.. Merge(histogram)];
        int most = Math.Min(count, shapes.Length);
        if (most == 0) return new ShapeBuckets([]);

        // padding[b, i]: the least for the first i shapes in b + 1 buckets; first[b, i]: where the last of them begins.
        var padding = new long[most, shapes.Length + 1];
        var first = new int[most, shapes.Length + 1];
        for (int b = 0; b < most; b++)
            for (int i = 1; i <= shapes.Length; i++)
                (padding[b, i], first[b, i]) = Last(shapes, i, b == 0 ? null : j => padding[b - 1, j]);

        var sizes = new List<int>();
        for (int b = most - 1, i = shapes.Length; i > 0; i = first[b--, i]) sizes.Add(shapes[i - 1].Size);
        sizes.Reverse();
        return new ShapeBuckets([.. sizes]);
    }

    /// <summary>The smallest size that holds the shape; null where none does, so that it is executed as it is.</summary>
    public int? Nearest(int shape)
    {
        int at = Array.BinarySearch(_sizes, shape);
        if (at < 0) at = ~at;
        return at < _sizes.Length ? _sizes[at] : null;
    }

    /// <summary>Tokens of padding for shapes that occur so often; those that no size holds have none.</summary>
    public long PaddingOf(IEnumerable<(int Size, long Weight)> histogram) =>
        histogram.Sum(shape => Nearest(shape.Size) is { } size ? (size - shape.Size) * shape.Weight : 0);

    /// <summary>Where the last bucket begins that holds shape i - 1, the largest of the first i, and the padding with those before it.</summary>
    private static (long Padding, int First) Last((int Size, long Weight)[] shapes, int i, Func<int, long>? before)
    {
        (long Padding, int First) best = (long.MaxValue, 0);
        long inBucket = 0;
        for (int j = i - 1; j >= 0; j--)
        {
            inBucket += (shapes[i - 1].Size - shapes[j].Size) * shapes[j].Weight;
            if (j > 0 && before is null) continue; // the first bucket holds all before it
            long all = inBucket + (j > 0 ? before!(j) : 0);
            if (all < best.Padding) best = (all, j);
        }
        return best;
    }

    private static IEnumerable<(int Size, long Weight)> Merge(IEnumerable<(int Size, long Weight)> histogram)
    {
        foreach (IGrouping<int, (int Size, long Weight)> group in histogram.GroupBy(shape => shape.Size).OrderBy(group => group.Key))
        {
            if (group.Key < 1 || group.Any(shape => shape.Weight < 0))
                throw new ArgumentException($"ShapeBuckets: shapes must be 1 or more and weights 0 or more, got {group.Min()}.", nameof(histogram));
            yield return (group.Key, group.Sum(shape => shape.Weight));
        }
    }
}
