namespace KernelForge.Tests;

/// <summary>Paths of token trees against a naive cache: what every node sees are its ancestors and the tokens before them, and nothing is written twice.</summary>
public class DraftPathsTests
{
    private const int Blocks = 64, Reserved = 40;

    [Fact]
    public void Add_Chain_StaysInTheBlocksOfItsSequence()
    {
        var paths = new DraftPaths(blockSize: 4, firstReserved: 100, reserved: 0);

        Assert.Equal(3, paths.Add(0, [7, 3], start: 2, length: 1, [new(0, 5, -1), new(1, 6, -1), new(2, 7, -1)]));

        Assert.Equal(new DraftPath(0, Start: 2, Nodes: new Run(0, 4), Blocks: new Run(0, 2), Forks: default, Copies: default), Assert.Single(paths.Paths.ToArray()));
        Assert.Equal([30, 31, 12, 13], paths.Slots.ToArray());
        Assert.Equal(paths.Slots.ToArray(), paths.Targets.ToArray());
        Assert.Equal((0, 0), (paths.Forks.Length, paths.Copies.Length));
    }

    [Fact]
    public void Add_SecondChild_ForksTheBlockInWhichItBegins()
    {
        var paths = new DraftPaths(blockSize: 4, firstReserved: 100, reserved: 9);

        paths.Add(0, [7, 3], start: 5, length: 1, [new(0, 5, -1), new(0, 6, -1), new(2, 7, -1)]);

        // Positions 4 and 5 are before the pass and node 0; nodes 2 and 3 are at 6 and 7.
        Assert.Equal([7, 100], paths.BlocksOf(paths.Paths[1]).ToArray());
        Assert.Equal([2, 3], paths.NodesOf(paths.Paths[1]).ToArray());
        Assert.Equal(6, paths.Paths[1].Start);
        Assert.Equal([new KvMove(12, 400)], paths.Forks.ToArray());
        Assert.Equal([new KvMove(13, 401)], paths.Copies.ToArray());
        Assert.Equal([13, 14, 402, 403], paths.Slots.ToArray());
    }

    [Fact]
    public void Add_RandomTrees_EveryNodeSeesItsAncestorsOnly()
    {
        var random = new Random(1);
        for (int trial = 0; trial < 3000; trial++)
        {
            int blockSize = random.Next(1, 6), free = 0;
            int[] blocks = [.. Enumerable.Range(0, Blocks)];
            random.Shuffle(blocks);
            var paths = new DraftPaths(blockSize, Blocks, random.Next(2) == 0 ? Reserved : random.Next(6));
            List<TreeRow> rows = [];
            for (int number = 0; number < 3; number++)
            {
                TreeRow row = TreeRow.Random(random, number, blockSize, blocks.AsSpan(free, 8));
                free += 8;
                row.Kept = paths.Add(number, row.Table, row.Start, row.Length, row.Nodes);
                rows.Add(row);
            }
            AssertPathsHold(paths, rows, blockSize);
            AssertAcceptedMovesMakeChains(paths, rows, blockSize, random);
        }
    }

    [Fact]
    public void Add_ReserveUsedUp_LosesTheLastNodesOnly()
    {
        var random = new Random(8);
        int lost = 0;
        for (int trial = 0; trial < 2000; trial++)
        {
            int blockSize = random.Next(1, 6), reserved = random.Next(8);
            TreeRow row = TreeRow.Random(random, 0, blockSize, Enumerable.Range(0, 8).ToArray());
            var paths = new DraftPaths(blockSize, Blocks, reserved);
            int kept = paths.Add(0, row.Table, row.Start, row.Length, row.Nodes);
            if (kept == row.Nodes.Length) continue;
            lost++;

            // One node more needs more blocks than there are.
            var roomy = new DraftPaths(blockSize, Blocks, Reserved);
            roomy.Add(0, row.Table, row.Start, row.Length, row.Nodes.AsSpan(0, kept + 1));
            Assert.Equal(reserved + 1, roomy.Paths.ToArray().SelectMany(path => roomy.BlocksOf(path).ToArray()).Where(block => block >= Blocks).Distinct().Count());
        }
        Assert.InRange(lost, 200, 2000);
    }

    [Fact]
    public void Add_PathBehindTheBlocks_Throws()
    {
        var paths = new DraftPaths(blockSize: 4, firstReserved: 100, reserved: 9);

        ArgumentException error = Assert.Throws<ArgumentException>(() => { paths.Add(0, [7], start: 2, length: 1, [new(0, 5, -1), new(1, 5, -1)]); });

        Assert.Contains("node 2 is at position 4; the blocks of the sequence end at 4", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Clear_ThenAdd_TakesTheReserveAnew()
    {
        var paths = new DraftPaths(blockSize: 4, firstReserved: 100, reserved: 1);
        for (int step = 0; step < 3; step++)
        {
            paths.Clear();
            Assert.Equal(2, paths.Add(0, [7], start: 1, length: 1, [new(0, 5, -1), new(0, 6, -1)]));
            Assert.Equal([7], paths.BlocksOf(paths.Paths[0]).ToArray());
            Assert.Equal([100], paths.BlocksOf(paths.Paths[1]).ToArray());
        }
    }

    private static void AssertPathsHold(DraftPaths paths, List<TreeRow> rows, int blockSize)
    {
        var cache = new Dictionary<int, string>();
        foreach (TreeRow row in rows)
            for (int position = 0; position < row.Start; position++) cache.Add(row.Slot(position, blockSize), row.NameOf(position, 0));
        Move(paths.Forks, cache);

        List<(TreeRow Row, int Node)> computed = [];
        foreach (DraftPath path in paths.Paths)
        {
            TreeRow row = rows[path.Row];
            int[] blocks = paths.BlocksOf(path).ToArray(), nodes = paths.NodesOf(path).ToArray();
            int position = path.Start;
            if (nodes[0] == 0)
                for (; position < row.Origin; position++) cache.Add(SlotIn(blocks, position, blockSize), row.NameOf(position, 0));
            foreach (int node in nodes)
            {
                Assert.Equal(row.Origin + row.DepthOf(node), position);
                int slot = SlotIn(blocks, position, blockSize);
                Assert.Equal(slot, paths.Slots[rows.Take(path.Row).Sum(before => before.Kept + 1) + node]);
                cache.Add(slot, row.NameOf(position++, node)); // throws when the slot is written already
                computed.Add((row, node));
            }
            Assert.Equal((position - 1) / blockSize + 1, blocks.Length);
        }
        Move(paths.Copies, cache);

        Assert.Equal(rows.SelectMany(row => Enumerable.Range(0, row.Kept + 1).Select(node => (row.Number, node))).Order(), computed.Select(one => (one.Row.Number, one.Node)).Order());
        foreach (DraftPath path in paths.Paths)
        {
            TreeRow row = rows[path.Row];
            int last = paths.NodesOf(path)[^1];
            for (int position = 0; position <= row.Origin + row.DepthOf(last); position++)
                Assert.Equal(row.NameOf(position, last), cache[SlotIn(paths.BlocksOf(path), position, blockSize)]);
        }
    }

    /// <summary>What the accepted nodes leave in the blocks of the sequence is what a chain would have left.</summary>
    private static void AssertAcceptedMovesMakeChains(DraftPaths paths, List<TreeRow> rows, int blockSize, Random random)
    {
        int first = 0;
        foreach (TreeRow row in rows)
        {
            var cache = new Dictionary<int, string>();
            for (int node = 0; node <= row.Kept; node++) cache.Add(paths.Slots[first + node], row.NameOf(row.Origin + row.DepthOf(node), node));
            int last = random.Next(row.Kept + 1);
            int[] path = row.PathTo(last);
            for (int t = 0; t < path.Length; t++)
            {
                Assert.Equal(row.Slot(row.Origin + t, blockSize), paths.Targets[first + t]);
                cache[paths.Targets[first + t]] = cache[paths.Slots[first + path[t]]];
            }
            for (int t = 0; t < path.Length; t++) Assert.Equal(row.NameOf(row.Origin + t, last), cache[row.Slot(row.Origin + t, blockSize)]);
            first += row.Kept + 1;
        }
    }

    private static void Move(ReadOnlySpan<KvMove> moves, Dictionary<int, string> cache)
    {
        foreach (KvMove move in moves) cache.Add(move.Destination, cache[move.Source]);
    }

    private static int SlotIn(ReadOnlySpan<int> blocks, int position, int blockSize) => blocks[position / blockSize] * blockSize + position % blockSize;

    private sealed record TreeRow(int Number, int[] Table, int Start, int Length, DraftNode[] Nodes)
    {
        public int Kept { get; set; }

        public int Origin => Start + Length - 1;

        public static TreeRow Random(Random random, int number, int blockSize, ReadOnlySpan<int> blocks)
        {
            int slots = blocks.Length * blockSize, length = random.Next(4) == 0 ? random.Next(1, 4) : 1, start = random.Next(slots - length);
            List<DraftNode> nodes = [];
            var row = new TreeRow(number, blocks.ToArray(), start, length, []);
            for (int i = random.Next(13); i > 0; i--)
            {
                int parent = random.Next(2) == 0 ? nodes.Count : random.Next(nodes.Count + 1);
                if (row.Origin + (row with { Nodes = [.. nodes] }).DepthOf(parent) + 1 < slots) nodes.Add(new DraftNode(parent, 0, -1));
            }
            return row with { Nodes = [.. nodes] };
        }

        public int DepthOf(int node) => PathTo(node).Length - 1;

        public int[] PathTo(int node) => node == 0 ? [0] : [.. PathTo(Nodes[node - 1].Parent), node];

        public int Slot(int position, int blockSize) => SlotIn(Table, position, blockSize);

        /// <summary>What stands at a position of the path to a node.</summary>
        public string NameOf(int position, int node) => position <= Origin ? $"row {Number} position {position}" : $"row {Number} node {PathTo(node)[position - Origin]}";
    }
}
