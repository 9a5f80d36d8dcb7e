using KernelForge.Inference;

namespace KernelForge.Tests;

public class PrefixTreeTests
{
    private const int BlockSize = 2;

    // One bucket: every two children collide. 64 buckets: hardly any do.
    [Theory, InlineData(1), InlineData(64)]
    public void Operations_Random_AgreeWithADictionaryOfPrefixes(int bucketCount)
    {
        var model = new TreeModel(new Random(17), capacity: 40, bucketCount);
        for (int step = 0; step < 4000; step++)
        {
            model.RandomOperation();
            model.Check();
        }
        Assert.True(model.Adopted > 10 && model.Evicted > 100 && model.Waited > 10, $"The operations met {model.Adopted} adoptions, {model.Evicted} evictions and {model.Waited} waits.");

        model.ReleaseAll();
        while (model.Tree.IdleCount > 0) model.EvictOne();
        model.Check();
        Assert.Equal(40, model.Pool.FreeCount);
    }

    [Fact]
    public void Match_PrefixBeingComputed_ReturnsThePendingBlockUntilItIsReady()
    {
        var pool = new BlockPool(4);
        var tree = new PrefixTree(pool, BlockSize);
        pool.TryAllocate(out int first);
        pool.TryAllocate(out int second);
        Assert.True(tree.TryAddPending(PrefixTree.Root, [1, 2], first));
        Assert.True(tree.TryAddPending(first, [3, 4], second));
        List<int> found = [];

        PendingBlock? pending = tree.Match([1, 2, 3, 4], 2, found);
        Assert.Equal(first, pending!.Value.Block);
        Assert.Empty(found);

        tree.Insert(PrefixTree.Root, [1, 2], first);
        Assert.False(tree.IsPending(pending.Value));
        Assert.Equal(second, tree.Match([1, 2, 3, 4], 2, found)!.Value.Block);
        Assert.Equal([first], found);

        tree.Release(second); // gave up: nobody computes it now
        found.Clear();
        Assert.Null(tree.Match([1, 2, 3, 4], 2, found));
        Assert.Equal([first], found);
    }

    [Fact]
    public void Insert_ContentPendingElsewhere_TakesItsPlace()
    {
        var pool = new BlockPool(4);
        var tree = new PrefixTree(pool, BlockSize);
        pool.TryAllocate(out int slow);
        pool.TryAllocate(out int slowNext);
        pool.TryAllocate(out int fast);
        tree.TryAddPending(PrefixTree.Root, [1, 2], slow);
        tree.TryAddPending(slow, [3, 4], slowNext);

        Assert.Equal(fast, tree.Insert(PrefixTree.Root, [1, 2], fast));
        tree.CheckIntegrity();

        Assert.False(tree.Contains(slow));
        Assert.False(tree.Contains(slowNext));
        Assert.Equal(fast, tree.Insert(PrefixTree.Root, [1, 2], slow)); // the slow one is told to use it
        tree.CheckIntegrity();
    }

    [Fact]
    public void Insert_ParentNotReady_Throws()
    {
        var pool = new BlockPool(2);
        var tree = new PrefixTree(pool, BlockSize);
        pool.TryAllocate(out int parent);
        pool.TryAllocate(out int child);

        Assert.Throws<InvalidOperationException>(() => tree.Insert(parent, [1, 2], child));
    }

    /// <summary>Sequences over a small alphabet, so that prefixes meet, and what the tree should know about them by brute force.</summary>
    private sealed class TreeModel
    {
        private readonly Random _random;
        private readonly List<Holder> _holders = [];
        private readonly Dictionary<string, int> _ready = [];   // prefix -> block
        private readonly Dictionary<int, long> _releasedAt = []; // block -> when it was last given back
        private long _clock;

        public TreeModel(Random random, int capacity, int bucketCount)
        {
            _random = random;
            Pool = new BlockPool(capacity);
            Tree = new PrefixTree(Pool, BlockSize, bucketCount);
        }

        public BlockPool Pool { get; }

        public PrefixTree Tree { get; }

        public int Adopted { get; private set; }

        public int Evicted { get; private set; }

        public int Waited { get; private set; }

        public void RandomOperation()
        {
            switch (_random.Next(6))
            {
                case 0 when _holders.Count < 8: Start(); break;
                case 1 or 2 or 3 when _holders.Count > 0: ComputeOne(_holders[_random.Next(_holders.Count)]); break;
                case 4 when _holders.Count > 3: Release(_holders[_random.Next(_holders.Count)]); break;
                case 5: EvictOne(); break;
            }
        }

        public void ReleaseAll()
        {
            while (_holders.Count > 0) Release(_holders[0]);
        }

        public void Check()
        {
            Pool.CheckIntegrity();
            Tree.CheckIntegrity();
            Assert.Equal(_ready.Count, Tree.ReadyCount);
            foreach (int block in _ready.Values) Assert.True(Tree.IsReady(block));
            Assert.Equal(_ready.Values.Count(block => !_holders.Any(holder => holder.Blocks.Contains(block))), Tree.IdleCount);
        }

        private void Start()
        {
            int[] tokens = [.. Enumerable.Range(0, BlockSize * _random.Next(1, 5)).Select(_ => _random.Next(2))];
            var holder = new Holder(tokens);
            PendingBlock? pending = Tree.Match(tokens, tokens.Length / BlockSize, holder.Blocks);

            Assert.Equal(LongestReady(tokens), holder.Blocks);
            bool expectPending = _holders.Any(other => other.Announced > holder.Blocks.Count && other.Computed <= holder.Blocks.Count
                && other.PrefixOf(holder.Blocks.Count + 1) == holder.PrefixOf(holder.Blocks.Count + 1));
            Assert.Equal(expectPending, pending is not null);
            // Half of those that should wait go on all the same, so that blocks are computed twice.
            if (pending is not null && Waited++ % 2 == 0) return;

            foreach (int block in holder.Blocks) Tree.Acquire(block);
            holder.Computed = holder.Announced = holder.Blocks.Count;
            _holders.Add(holder);
            while (holder.Blocks.Count < tokens.Length / BlockSize && Pool.TryAllocate(out int block)) Announce(holder, block);
        }

        private void Announce(Holder holder, int block)
        {
            int index = holder.Blocks.Count;
            bool known = Tree.TryAddPending(index == 0 ? PrefixTree.Root : holder.Blocks[^1], holder.TokensOf(index), block);
            holder.Blocks.Add(block);
            if (known) holder.Announced = index + 1;
        }

        private void ComputeOne(Holder holder)
        {
            int index = holder.Computed;
            if (index == holder.Blocks.Count) return;

            int own = holder.Blocks[index], kept = Tree.Insert(index == 0 ? PrefixTree.Root : holder.Blocks[index - 1], holder.TokensOf(index), own);
            if (_ready.TryGetValue(holder.PrefixOf(index + 1), out int existing))
            {
                Assert.Equal(existing, kept);
                Tree.Acquire(kept);
                Tree.Release(own);
                holder.Blocks[index] = kept;
                holder.Announced = index + 1;
                Adopted++;
            }
            else
            {
                Assert.Equal(own, kept);
                _ready.Add(holder.PrefixOf(index + 1), own);
                foreach (Holder other in _holders)
                {
                    // Announced blocks of a slower holder, and what follows them, are no longer in the tree.
                    if (other != holder && other.Announced > index && other.Computed <= index && other.PrefixOf(index + 1) == holder.PrefixOf(index + 1)) other.Announced = index;
                }
            }
            holder.Computed = index + 1;
            holder.Announced = Math.Max(holder.Announced, holder.Computed);
        }

        private void Release(Holder holder)
        {
            _holders.Remove(holder);
            for (int i = holder.Blocks.Count - 1; i >= 0; i--)
            {
                Tree.Release(holder.Blocks[i]);
                _releasedAt[holder.Blocks[i]] = ++_clock;
            }
        }

        public void EvictOne()
        {
            string? oldest = _ready.Keys
                .Where(prefix => !_holders.Any(holder => holder.Blocks.Contains(_ready[prefix])))
                .Where(prefix => !_ready.Keys.Any(longer => longer.Length > prefix.Length && longer.StartsWith(prefix, StringComparison.Ordinal)))
                .MinBy(prefix => _releasedAt[_ready[prefix]]);
            Assert.Equal(oldest is not null, Tree.TryEvict());
            if (oldest is null) return;

            Assert.Equal(0, Pool.References(_ready[oldest]));
            _ready.Remove(oldest);
            Evicted++;
        }

        private List<int> LongestReady(int[] tokens)
        {
            List<int> blocks = [];
            while (blocks.Count < tokens.Length / BlockSize
                && _ready.TryGetValue(string.Concat(tokens.Take((blocks.Count + 1) * BlockSize)), out int block)) blocks.Add(block);
            return blocks;
        }
    }

    private sealed class Holder(int[] tokens)
    {
        public List<int> Blocks { get; } = [];

        public int Computed { get; set; }

        /// <summary>Leading blocks that the tree has as ready or as pending for this holder.</summary>
        public int Announced { get; set; }

        public int[] TokensOf(int index) => tokens[(index * BlockSize)..((index + 1) * BlockSize)];

        public string PrefixOf(int blocks) => blocks * BlockSize <= tokens.Length ? string.Concat(tokens.Take(blocks * BlockSize)) : "none";
    }
}
