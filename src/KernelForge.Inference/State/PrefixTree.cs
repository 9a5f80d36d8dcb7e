namespace KernelForge.Inference;

/// <summary>
/// Which token prefixes already have KV blocks: a tree whose nodes are full blocks, each known by its parent and its own tokens.
/// A node is the block itself, so node and block ids are the same and the tree allocates nothing after construction.
/// </summary>
/// <remarks>
/// A node is <i>ready</i> (KV computed, the tree holds one reference) or <i>pending</i> (in the table of one running sequence,
/// which is computing it; no reference of the tree). A ready node's parent is ready. Pending nodes below a pending node belong
/// to the same sequence, so they form a chain. A sequence that holds a ready node holds all its ancestors: what is idle can
/// therefore always be evicted, leaves first: those given back longest ago, and after them those that a planned job still needs, the one needed last of all
/// first (Belady). Blocks of a planned job that none of its sequences waits for are freed instead of becoming idle.
/// Children are found by a hash of (parent, tokens) and confirmed by comparing both.
/// </remarks>
internal sealed class PrefixTree
{
    public const int Root = -1;

    private enum NodeState : byte { Absent, Pending, Ready }

    private readonly BlockPool _pool;
    private readonly int _blockSize;
    private readonly NodeState[] _states;
    private readonly int[] _parents, _childCounts, _pendingChildren, _nextInBucket, _buckets, _tokens;
    private readonly long[] _stamps; // pending: when registered; ready: when last given back
    private readonly EvictionQueue _evictable; // idle leaves
    private readonly PrefixNeeds? _needs;
    private readonly int[] _labels; // what the needs know a ready block by
    private long _clock;

    /// <summary>Fewer buckets than blocks only make it slower; tests pass 1. The needs say until when blocks of a planned job are needed.</summary>
    public PrefixTree(BlockPool pool, int blockSize, int? bucketCount = null, PrefixNeeds? needs = null)
    {
        (_pool, _blockSize, _needs) = (pool, blockSize, needs);
        int count = pool.Capacity;
        _states = new NodeState[count];
        _parents = new int[count];
        _childCounts = new int[count];
        _pendingChildren = new int[count];
        _nextInBucket = new int[count];
        _tokens = new int[count * blockSize];
        _stamps = new long[count];
        _evictable = new EvictionQueue(count);
        _labels = new int[count];
        _buckets = new int[bucketCount ?? (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)count)];
        Array.Fill(_buckets, -1);
    }

    /// <summary>Number of ready blocks.</summary>
    public int ReadyCount { get; private set; }

    /// <summary>Number of ready blocks that nobody but the tree holds; all of them can be evicted.</summary>
    public int IdleCount { get; private set; }

    public bool IsReady(int block) => _states[block] == NodeState.Ready;

    public bool Contains(int block) => _states[block] != NodeState.Absent;

    /// <summary>Whether the block is still being computed by the sequence that registered it.</summary>
    public bool IsPending(in PendingBlock pending) =>
        pending.Stamp != 0 && _states[pending.Block] == NodeState.Pending && _stamps[pending.Block] == pending.Stamp;

    /// <summary>
    /// Appends the ready blocks of the longest known prefix, at most <paramref name="maxBlocks"/>. Takes no references.
    /// Returns the block that would come next when it is being computed now.
    /// </summary>
    public PendingBlock? Match(ReadOnlySpan<int> tokens, int maxBlocks, List<int> blocks)
    {
        int node = Root;
        for (int i = 0; i < maxBlocks; i++)
        {
            node = FindChild(node, tokens.Slice(i * _blockSize, _blockSize));
            if (node < 0) return null;
            if (_states[node] == NodeState.Pending) return new PendingBlock(node, _stamps[node]);
            blocks.Add(node);
        }
        return null;
    }

    /// <summary>
    /// Tells that a running sequence computes this block. <paramref name="parent"/> is the block before it in the same table, or Root.
    /// False, and nothing changed, when the parent is not in the tree or the block's content already is.
    /// </summary>
    public bool TryAddPending(int parent, ReadOnlySpan<int> tokens, int block)
    {
        if (parent != Root && !Contains(parent)) return false;
        if (FindChild(parent, tokens) >= 0) return false;

        Link(parent, tokens, block, NodeState.Pending);
        if (parent != Root && _states[parent] == NodeState.Pending) _pendingChildren[parent] = block;
        return true;
    }

    /// <summary>
    /// Makes a computed block ready below <paramref name="parent"/>, which is Root or ready, and returns it; or returns the ready
    /// block that has the same content already, which the caller should use instead of its own.
    /// </summary>
    public int Insert(int parent, ReadOnlySpan<int> tokens, int block)
    {
        if (parent != Root && !IsReady(parent))
            throw new InvalidOperationException($"PrefixTree.Insert: expected a ready parent of block {block}, block {parent} is not.");

        int existing = FindChild(parent, tokens);
        if (existing != block)
        {
            if (existing >= 0 && IsReady(existing)) return existing;
            if (existing >= 0) RemovePending(existing); // two sequences computed it and this one was first
            Link(parent, tokens, block, NodeState.Ready);
        }

        _states[block] = NodeState.Ready;
        _pendingChildren[block] = -1;
        _pool.AddReference(block);
        ReadyCount++;
        return block;
    }

    /// <summary>Adds a reference to a block of the tree, or of another sequence.</summary>
    public void Acquire(int block)
    {
        if (IsReady(block) && _pool.References(block) == 1)
        {
            IdleCount--;
            _evictable.Remove(block);
        }
        _pool.AddReference(block);
    }

    /// <summary>Says what a block that a sequence holds is for: a label of <see cref="PrefixNeeds"/>.</summary>
    public void Label(int block, int label) => _labels[block] = label;

    /// <summary>
    /// Gives a sequence's reference back. A ready block stays as idle or, when a plan says that nobody needs it, is freed; a pending one leaves the tree.
    /// </summary>
    public void Release(int block)
    {
        RemovePending(block);
        int left = _pool.Release(block);
        if (left != 1 || !IsReady(block)) return;

        IdleCount++;
        _stamps[block] = ++_clock;
        Reconsider(block);
    }

    /// <summary>Asks anew when an idle block is needed, because that changed.</summary>
    public void Reconsider(int block)
    {
        if (!IsIdleLeaf(block)) return;

        if (IsDead(block)) Free(block);
        else _evictable.Set(block, EvictionKeyOf(block));
    }

    /// <summary>Removes the block, if it is pending, and the pending ones below it. They stay with their sequence.</summary>
    public void RemovePending(int block)
    {
        if (_states[block] != NodeState.Pending) return;

        int last = block;
        while (_pendingChildren[last] >= 0) last = _pendingChildren[last];
        for (int node = last; ; node = _parents[node])
        {
            Unlink(node);
            if (node == block) break;
        }
    }

    /// <summary>Frees the idle leaf given back longest ago, or the one needed last when all are needed; false when nothing is idle.</summary>
    public bool TryEvict()
    {
        if (!_evictable.TryPeek(out int block)) return false;

        Free(block);
        return true;
    }

    /// <summary>Frees every idle block.</summary>
    public void EvictAll()
    {
        while (TryEvict())
        {
        }
    }

    /// <summary>Throws when links, counts, states and references contradict each other.</summary>
    public void CheckIntegrity()
    {
        int ready = 0, idle = 0;
        var childCounts = new int[_states.Length];
        for (int block = 0; block < _states.Length; block++)
        {
            if (!Contains(block)) continue;
            int parent = _parents[block];
            if (parent != Root) childCounts[parent]++;
            Expect(FindChild(parent, TokensOf(block)) == block, block, "is not found by its content");
            Expect(_pool.References(block) > 0, block, "is free");
            if (IsReady(block))
            {
                ready++;
                if (_pool.References(block) == 1) idle++;
                Expect(parent == Root || IsReady(parent), block, "is ready below a block that is not");
                Expect(parent == Root || _pool.References(parent) > 1 || _pool.References(block) == 1, block, "is held and its parent is not");
                Expect(!IsIdleLeaf(block) || !IsDead(block), block, "is kept and nobody needs it");
                Expect(!IsIdleLeaf(block) || _evictable.KeyOf(block) == EvictionKeyOf(block), block, "is queued for eviction by an old key");
            }
            else
            {
                Expect(parent == Root || Contains(parent), block, "is pending below a block outside the tree");
                Expect(parent == Root || IsReady(parent) || _pendingChildren[parent] == block, block, "is not its parent's pending child");
                Expect(parent == Root || IsReady(parent) || _childCounts[parent] == 1, block, "shares a pending parent");
            }
        }

        for (int block = 0; block < _states.Length; block++)
        {
            Expect(childCounts[block] == (Contains(block) ? _childCounts[block] : 0), block, "has a wrong child count");
            Expect(_evictable.Contains(block) == IsIdleLeaf(block), block, "is an idle leaf or can be evicted, but not both");
        }
        if (ready != ReadyCount || idle != IdleCount)
            throw new InvalidOperationException($"PrefixTree: counted {ready} ready and {idle} idle, expected {ReadyCount} and {IdleCount}.");
    }

    private static void Expect(bool holds, int block, string complaint)
    {
        if (!holds) throw new InvalidOperationException($"PrefixTree: block {block} {complaint}.");
    }

    private ReadOnlySpan<int> TokensOf(int block) => _tokens.AsSpan(block * _blockSize, _blockSize);

    private bool IsIdleLeaf(int block) => IsReady(block) && _pool.References(block) == 1 && _childCounts[block] == 0;

    private bool IsDead(int block) => _needs is { } needs && _labels[block] != PrefixNeeds.Unplanned && needs.NextOf(_labels[block]) == PrefixNeeds.Never;

    /// <summary>Blocks that nobody waits for go by the time they were given back, before all others; those go by their next use, latest first.</summary>
    private long EvictionKeyOf(int block)
    {
        long next = _needs is { } needs && _labels[block] != PrefixNeeds.Unplanned ? needs.NextOf(_labels[block]) : PrefixNeeds.Never;
        return next == PrefixNeeds.Never ? _stamps[block] : long.MaxValue - next;
    }

    /// <summary>Frees an idle leaf, and those before it that nobody needs and that become leaves by it.</summary>
    private void Free(int block)
    {
        while (true)
        {
            int parent = _parents[block];
            _evictable.Remove(block);
            Unlink(block);
            ReadyCount--;
            IdleCount--;
            _pool.Release(block);
            if (parent == Root || !IsIdleLeaf(parent)) return;
            if (!IsDead(parent))
            {
                _evictable.Set(parent, EvictionKeyOf(parent));
                return;
            }
            block = parent;
        }
    }

    private void Link(int parent, ReadOnlySpan<int> tokens, int block, NodeState state)
    {
        ref int bucket = ref BucketOf(parent, tokens);
        _nextInBucket[block] = bucket;
        bucket = block;

        tokens.CopyTo(_tokens.AsSpan(block * _blockSize));
        _states[block] = state;
        _stamps[block] = ++_clock;
        _parents[block] = parent;
        _childCounts[block] = 0;
        _pendingChildren[block] = -1;
        _labels[block] = PrefixNeeds.Unplanned;
        if (parent != Root) _childCounts[parent]++;
    }

    private void Unlink(int block)
    {
        int parent = _parents[block];
        ref int link = ref BucketOf(parent, TokensOf(block));
        while (link != block) link = ref _nextInBucket[link];
        link = _nextInBucket[block];

        _states[block] = NodeState.Absent;
        if (parent == Root) return;
        if (_pendingChildren[parent] == block) _pendingChildren[parent] = -1;
        _childCounts[parent]--;
    }

    private int FindChild(int parent, ReadOnlySpan<int> tokens)
    {
        int node = BucketOf(parent, tokens);
        while (node >= 0 && !(_parents[node] == parent && TokensOf(node).SequenceEqual(tokens))) node = _nextInBucket[node];
        return node;
    }

    private ref int BucketOf(int parent, ReadOnlySpan<int> tokens)
    {
        ulong hash = (ulong)(uint)parent;
        foreach (int token in tokens)
        {
            hash = (hash + (uint)token) * 0x9E3779B97F4A7C15UL;
            hash ^= hash >> 32;
        }
        return ref _buckets[(int)(hash % (uint)_buckets.Length)];
    }
}
