namespace KernelForge.Tests;

/// <summary>One sequence's inputs of attention: a query, key and value row per position, made from a seed.</summary>
public sealed class AttentionInputs(int seed, int length, int queryHeads, int kvHeads, int headDim, float range = 1)
{
    public int Length => length;

    public float[] Queries { get; } = Numbers.Uniform(seed, length * queryHeads * headDim, range);

    public float[] Keys { get; } = Numbers.Uniform(seed + 1000, length * kvHeads * headDim, range);

    public float[] Values { get; } = Numbers.Uniform(seed + 2000, length * kvHeads * headDim, range);
}

/// <summary>Sequences with blocks of their own in a paged cache, and the attention of chosen query ranges over it.</summary>
public sealed class PagedSequences : IDisposable
{
    private readonly KvFormat _format;
    private readonly int _queryHeads;
    private readonly AttentionInputs[] _sequences;
    private readonly int[][] _tables;
    private readonly PagedCache _cache;

    /// <param name="device">Subject.</param>
    /// <param name="format">Of the cache.</param>
    /// <param name="queryHeads">Query heads.</param>
    /// <param name="blockSeed">Order of the blocks in the cache.</param>
    /// <param name="sequences">What the cache holds, all positions of each.</param>
    public PagedSequences(Device device, KvFormat format, int queryHeads, int blockSeed, params AttentionInputs[] sequences)
    {
        (_format, _queryHeads, _sequences) = (format, queryHeads, sequences);
        int[] counts = [.. sequences.Select(s => (s.Length + format.BlockSize - 1) / format.BlockSize)];
        int blocks = counts.Sum() + 2;
        int[] order = [.. Enumerable.Range(0, blocks)];
        new Random(blockSeed).Shuffle(order);
        _tables = new int[sequences.Length][];
        for (int s = 0, used = 0; s < sequences.Length; used += counts[s++]) _tables[s] = order[used..(used + counts[s])];

        _cache = new PagedCache(device, format, queryHeads, blocks);
        for (int s = 0; s < sequences.Length; s++) _cache.Append(_tables[s], sequences[s].Keys, sequences[s].Values);
    }

    public float Scale => _cache.Scale;

    /// <summary>Attention of the query tokens first .. first + count - 1 of some sequences, in one call. Returns the output rows of each.</summary>
    public float[][] Attend(DType queryType, DType resultType, params (int Sequence, int First, int Count)[] parts) =>
        Attend(queryType, resultType, window: 0, softCap: 0, parts);

    /// <summary>The same with a window and a bound of scores, 0 for none.</summary>
    public float[][] Attend(DType queryType, DType resultType, int window, float softCap, params (int Sequence, int First, int Count)[] parts)
    {
        int columns = _queryHeads * _format.HeadDim;
        float[] rows = [.. parts.SelectMany(p => _sequences[p.Sequence].Queries.Skip(p.First * columns).Take(p.Count * columns))];
        return _cache.Attend(rows, [.. parts.Select(p => new AttentionPart(p.First, p.Count, _tables[p.Sequence]))], queryType, resultType, window, softCap);
    }

    /// <summary>A sequence's key of a head at a position, as the cache holds it.</summary>
    public float[] Key(int sequence, int head, int position) => _cache.Key(_tables[sequence], head, position);

    /// <summary>A sequence's value of a head at a position, as the cache holds it.</summary>
    public float[] Value(int sequence, int head, int position) => _cache.Value(_tables[sequence], head, position);

    public void Dispose() => _cache.Dispose();
}
