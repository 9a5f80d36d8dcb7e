namespace KernelForge.Tests;

/// <summary>A random step on the host: sequences whose block tables start alike, as a tree of prefixes has it.</summary>
public sealed class RandomStep
{
    private readonly Random _random;
    private readonly List<int> _queryOffsets = [0], _contexts = [], _blockOffsets = [0], _blockTables = [];
    private readonly List<int[]> _tables = [];
    private readonly List<int> _lengths = [];

    /// <param name="seed">Of everything.</param>
    /// <param name="blockSize">Positions in a block.</param>
    /// <param name="levels">Most prefixes of a sequence.</param>
    /// <param name="blocksPerLevel">Most blocks of a prefix.</param>
    /// <param name="longestQuery">Most query tokens of a sequence.</param>
    public RandomStep(int seed, int blockSize, int levels, int blocksPerLevel, int longestQuery)
    {
        (_random, BlockSize) = (new Random(seed), blockSize);
        int groups = _random.Next(1, 4);
        for (int i = 0; i < groups; i++) AddPrefix([], levels, blocksPerLevel, longestQuery);
        Shuffle();
    }

    public int BlockSize { get; }
    public int Blocks { get; private set; }
    public int[] QueryOffsets => [.. _queryOffsets];
    public int[] Contexts => [.. _contexts];
    public int[] BlockOffsets => [.. _blockOffsets];
    public int[] BlockTables => [.. _blockTables];
    public int Sequences => _contexts.Count;

    public int[] Table(int sequence) => _tables[sequence];

    public void Plan(AttentionPlanner planner) => planner.Plan(QueryOffsets, Contexts, BlockOffsets, BlockTables);

    /// <summary>The next step of the same sequences: contexts grow by the query tokens, tables by what those need.</summary>
    public void Advance()
    {
        for (int s = 0; s < Sequences; s++)
        {
            _contexts[s] += _lengths[s];
            while (_tables[s].Length * BlockSize < _contexts[s] + _lengths[s]) _tables[s] = [.. _tables[s], Blocks++];
        }
        Flatten();
    }

    private void AddPrefix(int[] above, int levels, int blocksPerLevel, int longestQuery)
    {
        int[] path = [.. above, .. NewBlocks(_random.Next(1, blocksPerLevel + 1))];
        int children = _random.Next(1, 5);
        for (int i = 0; i < children; i++)
        {
            if (levels > 1 && _random.Next(2) == 0) AddPrefix(path, levels - 1, blocksPerLevel, longestQuery);
            else AddSequence(path, longestQuery);
        }
    }

    private void AddSequence(int[] path, int longestQuery)
    {
        int length = _random.Next(4) switch { 0 => _random.Next(1, longestQuery + 1), 1 => _random.Next(0, 2), _ => 1 };
        int[] shared = _random.Next(5) == 0 ? path[.._random.Next(path.Length + 1)] : path; // some end inside of a prefix
        int context = shared.Length * BlockSize + _random.Next(4) switch { 0 => 0, 1 => _random.Next(1, BlockSize), _ => _random.Next(1, 700) };
        int blocks = (context + length + BlockSize - 1) / BlockSize + _random.Next(3);
        _contexts.Add(context);
        _lengths.Add(length);
        _tables.Add([.. shared, .. NewBlocks(Math.Max(0, blocks - shared.Length))]);
    }

    private int[] NewBlocks(int count) => [.. Enumerable.Range((Blocks += count) - count, count)];

    private void Shuffle()
    {
        int[] order = [.. Enumerable.Range(0, Sequences)];
        _random.Shuffle(order);
        int[] contexts = Contexts, lengths = [.. _lengths];
        int[][] tables = [.. _tables];
        for (int s = 0; s < order.Length; s++) (_contexts[s], _lengths[s], _tables[s]) = (contexts[order[s]], lengths[order[s]], tables[order[s]]);
        Flatten();
    }

    private void Flatten()
    {
        _queryOffsets.RemoveRange(1, _queryOffsets.Count - 1);
        _blockOffsets.RemoveRange(1, _blockOffsets.Count - 1);
        _blockTables.Clear();
        for (int s = 0; s < Sequences; s++)
        {
            _queryOffsets.Add(_queryOffsets[s] + _lengths[s]);
            _blockTables.AddRange(_tables[s]);
            _blockOffsets.Add(_blockTables.Count);
        }
    }
}
