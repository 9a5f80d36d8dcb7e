namespace KernelForge.Tests;

/// <summary>A node of a prefix tree: positions that all sequences below it share, in blocks that exist once.</summary>
/// <param name="Length">Positions, a multiple of the block size.</param>
/// <param name="Children">Longer prefixes and sequences.</param>
public sealed record SharedPrefix(int Length, params SharedPart[] Children) : SharedPart;

/// <summary>A sequence: the positions that are its own.</summary>
/// <param name="Length">Positions behind its prefixes; the last of them is the last query token.</param>
/// <param name="Queries">Query tokens; they may begin within the prefixes.</param>
public sealed record OwnSuffix(int Length, int Queries = 1) : SharedPart;

/// <summary>A prefix or a sequence of a forest.</summary>
public abstract record SharedPart;

/// <summary>
/// A forest of sequences that share physical blocks of one paged cache, and their attention with a plan and without. The sequences of a batch are in an
/// order of their own, so that those which share are no neighbours.
/// </summary>
public sealed class SharedSequences : IDisposable
{
    private readonly KvFormat _format;
    private readonly int _queryHeads, _seed;
    private readonly float _range;
    private readonly Queue<int> _freeBlocks;
    private readonly List<(int[] Table, float[] Keys, float[] Values)> _contents = [];
    private readonly List<AttentionPart> _parts = [];
    private readonly PagedCache _cache;
    private readonly float[] _queries;

    /// <param name="device">Subject.</param>
    /// <param name="format">Of the cache.</param>
    /// <param name="queryHeads">Query heads.</param>
    /// <param name="seed">Order of blocks and sequences, keys, values and queries.</param>
    /// <param name="range">Keys, values and queries are between -range and range.</param>
    /// <param name="forest">Trees.</param>
    public SharedSequences(Device device, KvFormat format, int queryHeads, int seed, float range, params SharedPart[] forest)
    {
        (_format, _queryHeads, _seed, _range) = (format, queryHeads, seed, range);
        int blocks = forest.Sum(Blocks) + 2;
        int[] order = [.. Enumerable.Range(0, blocks)];
        new Random(seed).Shuffle(order);
        _freeBlocks = new Queue<int>(order);
        foreach (SharedPart tree in forest) Add(tree, [], 0);
        Sequences = [.. _parts];
        new Random(seed + 1).Shuffle(Sequences);

        _cache = new PagedCache(device, format, queryHeads, blocks);
        foreach ((int[] table, float[] keys, float[] values) in _contents) _cache.Append(table, keys, values);
        _queries = Numbers.Uniform(seed + 2, Sequences.Sum(p => p.Count) * queryHeads * format.HeadDim, range);
    }

    /// <summary>The sequences in the order of the batch.</summary>
    public AttentionPart[] Sequences { get; }

    public PagedCache Cache => _cache;

    /// <summary>Attention of all sequences without a plan. Returns the output rows of each.</summary>
    public float[][] Attend(DType queryType, DType resultType, int window = 0, float softCap = 0) =>
        _cache.Attend(_queries, Sequences, queryType, resultType, window, softCap);

    /// <summary>The same with what a planner makes of it; its options are those of <see cref="PagedCache.PlannerOptions"/>, varied.</summary>
    public float[][] Attend(DType queryType, DType resultType, AttentionPlanner planner, float softCap = 0) =>
        _cache.Attend(_queries, Sequences, queryType, resultType, softCap: softCap, planner: planner);

    /// <summary>The same over a plan for them.</summary>
    public float[][] Attend(DType queryType, DType resultType, AttentionPlan plan, float softCap = 0) =>
        _cache.Attend(_queries, Sequences, queryType, resultType, plan, softCap);

    /// <summary>A query of a sequence (in the order of the batch), as operators get it.</summary>
    public float[] Query(int sequence, int token, int head, DType type)
    {
        int row = Sequences[..sequence].Sum(p => p.Count) + token, start = (row * _queryHeads + head) * _format.HeadDim;
        return [.. _queries[start..(start + _format.HeadDim)].Select(v => Close.Round(v, type))];
    }

    public void Dispose() => _cache.Dispose();

    private int Blocks(SharedPart part) => part switch
    {
        SharedPrefix prefix => prefix.Length / _format.BlockSize + prefix.Children.Sum(Blocks),
        OwnSuffix suffix => (suffix.Length + _format.BlockSize - 1) / _format.BlockSize,
        _ => throw new ArgumentException($"{part} is neither a prefix nor a sequence"),
    };

    /// <summary>Gives a part blocks behind those of its prefixes, and what to put into them.</summary>
    private void Add(SharedPart part, int[] table, int start)
    {
        int length = part is SharedPrefix shared ? shared.Length : ((OwnSuffix)part).Length;
        if (part is SharedPrefix && length % _format.BlockSize != 0) throw new ArgumentException($"{part}: its length is no multiple of {_format.BlockSize}");
        int[] own = [.. Enumerable.Range(0, Blocks(new OwnSuffix(length))).Select(_ => _freeBlocks.Dequeue())];
        int elements = length * _format.KvHeads * _format.HeadDim, seed = _seed + 3 + 2 * _contents.Count;
        _contents.Add((own, Numbers.Uniform(seed, elements, _range), Numbers.Uniform(seed + 1, elements, _range)));
        table = [.. table, .. own];
        int end = start + length;
        foreach (SharedPart child in part is SharedPrefix prefix ? prefix.Children : []) Add(child, table, end);
        if (part is OwnSuffix { Queries: int queries }) _parts.Add(new AttentionPart(end - queries, queries, table));
    }
}
