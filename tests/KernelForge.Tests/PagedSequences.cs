namespace KernelForge.Tests;

/// <summary>One sequence's inputs of attention: a query, key and value row per position, made from a seed.</summary>
public sealed class AttentionInputs(int seed, int length, int queryHeads, int kvHeads, int headDim, float range = 1)
{
    public int Length => length;

    public float[] Queries { get; } = Numbers.Uniform(seed, length * queryHeads * headDim, range);

    public float[] Keys { get; } = Numbers.Uniform(seed + 1000, length * kvHeads * headDim, range);

    public float[] Values { get; } = Numbers.Uniform(seed + 2000, length * kvHeads * headDim, range);
}

/// <summary>Sequences with their keys and values in a paged cache whose unused slots hold NaN, and the attention of chosen query ranges over it.</summary>
public sealed class PagedSequences : IDisposable
{
    private readonly Device _device;
    private readonly KvFormat _format;
    private readonly int _queryHeads;
    private readonly AttentionInputs[] _sequences;
    private readonly int[][] _tables;
    private readonly GuardedMatrix _memory;
    private readonly KvLayer _layer;
    private readonly Lazy<float[]> _values;

    /// <param name="device">Subject.</param>
    /// <param name="format">Of the cache.</param>
    /// <param name="queryHeads">Query heads.</param>
    /// <param name="blockSeed">Order of the blocks in the cache.</param>
    /// <param name="sequences">What the cache holds, all positions of each.</param>
    public PagedSequences(Device device, KvFormat format, int queryHeads, int blockSeed, params AttentionInputs[] sequences)
    {
        (_device, _format, _queryHeads, _sequences) = (device, format, queryHeads, sequences);
        int[] counts = [.. sequences.Select(s => (s.Length + format.BlockSize - 1) / format.BlockSize)];
        int blocks = counts.Sum() + 2;
        int[] order = [.. Enumerable.Range(0, blocks)];
        new Random(blockSeed).Shuffle(order);
        _tables = new int[sequences.Length][];
        for (int s = 0, used = 0; s < sequences.Length; used += counts[s++]) _tables[s] = order[used..(used + counts[s])];

        _memory = new GuardedMatrix(device, format.DType, blocks * format.RowsPerBlock, format.HeadDim);
        _layer = new KvLayer(_memory, format);
        for (int s = 0; s < sequences.Length; s++) Append(s);
        _values = new Lazy<float[]>(_memory.Get);
    }

    /// <summary>Attention of the query tokens first .. first + count - 1 of some sequences, in one call. Returns the output rows of each.</summary>
    public float[][] Attend(DType queryType, DType resultType, params (int Sequence, int First, int Count)[] parts)
    {
        int tokens = parts.Sum(p => p.Count), columns = _queryHeads * _format.HeadDim;
        float[] rows = [.. parts.SelectMany(p => _sequences[p.Sequence].Queries.Skip(p.First * columns).Take(p.Count * columns))];
        using var queries = new GuardedMatrix(_device, queryType, tokens, columns, rows, gap: 3);
        using var result = new GuardedMatrix(_device, resultType, tokens, columns, gap: 5);

        int[][] used = [.. parts.Select(p => _tables[p.Sequence][..((p.First + p.Count + _format.BlockSize - 1) / _format.BlockSize)])];
        using DeviceBuffer offsets = _device.Upload<int>(Offsets([.. parts.Select(p => p.Count)])), contexts = _device.Upload<int>([.. parts.Select(p => p.First)]);
        using DeviceBuffer blockOffsets = _device.Upload<int>(Offsets([.. used.Select(t => t.Length)])), blockTables = _device.Upload<int>([.. used.SelectMany(t => t)]);
        var plan = new AttentionPlan(offsets.AsSpan<int>(), contexts.AsSpan<int>(), blockOffsets.AsSpan<int>(), blockTables.AsSpan<int>());
        _device.Operators.Attention(queries, _layer, plan, Scale, result);
        result.AssertUntouchedAround();

        float[] all = result.Get();
        int start = 0;
        return [.. parts.Select(p => all[(start * columns)..((start += p.Count) * columns)])];
    }

    public float Scale => 1 / MathF.Sqrt(_format.HeadDim);

    /// <summary>A sequence's key of a head at a position, as the cache holds it.</summary>
    public float[] Key(int sequence, int head, int position) => CacheRow(_layer.KeyRow(Block(sequence, position), head) + position % _format.BlockSize);

    /// <summary>A sequence's value of a head at a position, as the cache holds it.</summary>
    public float[] Value(int sequence, int head, int position) => CacheRow(_layer.ValueRow(Block(sequence, position), head) + position % _format.BlockSize);

    public void Dispose() => _memory.Dispose();

    private static int[] Offsets(int[] lengths)
    {
        var offsets = new int[lengths.Length + 1];
        for (int i = 0; i < lengths.Length; i++) offsets[i + 1] = offsets[i] + lengths[i];
        return offsets;
    }

    private float[] CacheRow(int row) => _values.Value[(row * _format.HeadDim)..((row + 1) * _format.HeadDim)];

    private int Block(int sequence, int position) => _tables[sequence][position / _format.BlockSize];

    private void Append(int s)
    {
        int columns = _format.KvHeads * _format.HeadDim, length = _sequences[s].Length;
        using var keys = new GuardedMatrix(_device, _format.DType, length, columns, _sequences[s].Keys);
        using var values = new GuardedMatrix(_device, _format.DType, length, columns, _sequences[s].Values);
        int[] slots = [.. Enumerable.Range(0, length).Select(p => Block(s, p) * _format.BlockSize + p % _format.BlockSize)];
        using DeviceBuffer slotBuffer = _device.Upload<int>(slots);
        _device.Operators.AppendKv(keys, values, slotBuffer.AsSpan<int>(), _layer);
        _memory.AssertUntouchedAround();
    }
}
