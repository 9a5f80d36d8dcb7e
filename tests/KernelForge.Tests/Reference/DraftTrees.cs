namespace KernelForge.Tests;

/// <summary>Sequences with drafted tokens, and what becomes of them by definition: the path is found by asking for the children of one node after the other.</summary>
internal sealed class DraftTrees
{
    private readonly List<DraftRow> _rows = [];
    private readonly List<int> _parents = [], _tokens = [], _chosen = [], _stops = [];

    public DraftRow[] Rows => [.. _rows];

    public int[] Parents => [.. _parents];

    public int[] Tokens => [.. _tokens];

    public int[] Chosen => [.. _chosen];

    public int[] Stops => [.. _stops];

    public int Nodes => _chosen.Count;

    /// <summary>Chains and trees of 0 to <paramref name="mostDrafts"/> drafts over four tokens, so that equal children, accepted nodes and stop tokens are common.</summary>
    public static DraftTrees Random(int seed, int rows, int mostDrafts)
    {
        var random = new Random(seed);
        var trees = new DraftTrees();
        for (int i = 0; i < rows; i++)
        {
            int drafts = random.Next(mostDrafts + 1), length = random.Next(1, 5000), reach = random.Next(3) == 0 ? int.MaxValue : random.Next(1, 6);
            int[] chosen = [.. Enumerable.Range(0, drafts + 1).Select(_ => random.Next(4))];
            int[] parents = [random.Next(-9, 9), .. Enumerable.Range(0, drafts).Select(node => random.Next(Math.Max(0, node + 1 - reach), node + 1))];
            if (reach == int.MaxValue) parents = [0, .. Enumerable.Range(0, drafts)];
            int[] tokens = [random.Next(4), .. parents.Skip(1).Select(parent => random.Next(5) > 0 ? chosen[parent] : random.Next(4))];
            int[] stops = [.. Enumerable.Range(0, random.Next(3)).Select(_ => random.Next(8))];
            trees.Add(length, parents, tokens, chosen, stops, length + random.Next(1, random.Next(2, 90)), length + random.Next(-5, 5));
        }

        return trees;
    }

    public void Add(int length, int[] parents, int[] tokens, int[] chosen, int[] stops, int maxLength, int minLength = 0)
    {
        _rows.Add(new DraftRow(Nodes, chosen.Length, length, maxLength, minLength, _stops.Count, stops.Length));
        _parents.AddRange(parents);
        _tokens.AddRange(tokens);
        _chosen.AddRange(chosen);
        _stops.AddRange(stops);
    }

    /// <summary>The memory of <see cref="VerifiedDrafts"/>, <paramref name="unwritten"/> where it is not written.</summary>
    public int[] Verify(int blockSize, int unwritten)
    {
        (List<int> Path, DraftEnd End)[] found = [.. _rows.Select(Follow)];
        int[] lengths = [.. _rows.Zip(found, (row, f) => row.Length + f.Path.Count)];
        int[] active = [.. Enumerable.Range(0, found.Length).Where(i => found[i].End == DraftEnd.None)];
        int[] offsets = [.. Enumerable.Range(0, found.Length + 1).Select(i => found.Take(i).Sum(f => f.Path.Count))];
        int[] tokens = [.. _rows.Zip(found, (row, f) => f.Path.Select(node => _chosen[row.FirstNode + node])).SelectMany(t => t)];
        int[] path = [.. found.SelectMany(f => f.Path)];
        return
        [
            active.Length, .. offsets, .. lengths, .. lengths.Select(length => (length + blockSize - 1) / blockSize), .. found.Select(f => (int)f.End),
            .. Padded(active, found.Length), .. Padded(tokens, Nodes), .. Padded(path, Nodes),
        ];

        IEnumerable<int> Padded(int[] values, int length) => values.Concat(Enumerable.Repeat(unwritten, length - values.Length));
    }

    /// <summary>For each node of all sequences the move that <see cref="Operators.AcceptedMoves"/> makes.</summary>
    public KvMove[] Moves(int[] slots, int[] targets)
    {
        var moves = new KvMove[Nodes];
        foreach (DraftRow row in _rows)
        {
            List<int> path = Follow(row).Path;
            for (int t = 0; t < path.Count; t++) moves[row.FirstNode + t] = new KvMove(slots[row.FirstNode + path[t]], targets[row.FirstNode + t]);
        }

        return moves;
    }

    private (List<int> Path, DraftEnd End) Follow(DraftRow row)
    {
        List<int> path = [];
        int[] stops = [.. _stops.Skip(row.FirstStop).Take(row.Stops)];
        for (int node = 0; ;)
        {
            path.Add(node);
            int token = _chosen[row.FirstNode + node], length = row.Length + path.Count;
            if (stops.Contains(token) && length - 1 >= row.MinLength) return (path, DraftEnd.Stop);
            if (length >= row.MaxLength) return (path, DraftEnd.Length);

            int[] children = [.. Enumerable.Range(1, row.Nodes - 1).Where(child => _parents[row.FirstNode + child] == node && _tokens[row.FirstNode + child] == token)];
            if (children.Length == 0) return (path, DraftEnd.None);
            node = children[0];
        }
    }
}
