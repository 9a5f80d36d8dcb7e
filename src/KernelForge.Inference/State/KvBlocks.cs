using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Gives sequences their blocks: shared where the prefix tree or a sibling sample has them, new ones otherwise, taken from the
/// tree's idle blocks when the pool is empty.
/// </summary>
/// <param name="pool">Where they come from.</param>
/// <param name="blockSize">Token positions in a block.</param>
/// <param name="prefixCache">Whether computed blocks are kept and shared by content.</param>
/// <param name="waits">Whether a sequence waits for a block that another one is computing.</param>
/// <param name="needs">Until when the blocks of a planned job are needed; null without a plan.</param>
internal sealed class KvBlocks(BlockPool pool, int blockSize, bool prefixCache, bool waits = true, PrefixNeeds? needs = null)
{
    private readonly PrefixNeeds? _needs = prefixCache ? needs : null;
    private readonly List<int> _shared = [];

    public BlockPool Pool { get; } = pool;

    public PrefixTree Tree { get; } = new(pool, blockSize, needs: prefixCache ? needs : null);

    /// <summary>Lets go of blocks that are kept for later, when memory is short; false when there are none.</summary>
    public Func<bool> EndPin { get; init; } = static () => false;

    /// <summary>Distinct blocks that sequences hold; idle blocks of the tree are not among them.</summary>
    public int InUse => Pool.UsedCount - Tree.IdleCount;

    /// <summary>Idle blocks that were taken for other tokens.</summary>
    public long Evictions { get; private set; }

    /// <summary>Computed blocks that the last <see cref="TryFindShared"/> found.</summary>
    public ReadOnlySpan<int> Found => CollectionsMarshal.AsSpan(_shared);

    public int BlocksFor(int slots) => (slots + blockSize - 1) / blockSize;

    /// <summary>
    /// Looks for computed blocks the candidate can start from; <see cref="Attach"/> takes them. False when the next block it needs
    /// is being computed by a running sequence, so that computing it too would be waste, and sequences wait for that.
    /// </summary>
    public bool TryFindShared(Sequence candidate, out int count, out int idle)
    {
        _shared.Clear();
        bool found = prefixCache ? FindInTree(candidate) : FindInSibling(candidate);
        count = _shared.Count;
        idle = 0;
        foreach (int block in CollectionsMarshal.AsSpan(_shared)) idle += Tree.IsReady(block) && Pool.References(block) == 1 ? 1 : 0;
        return found;
    }

    /// <summary>Leading tokens of a waiting sequence whose KV the tree has; takes no references.</summary>
    public int CachedLength(Sequence candidate)
    {
        _shared.Clear();
        if (prefixCache) Tree.Match(candidate.Tokens, (candidate.Length - 1) / blockSize, _shared);
        return _shared.Count * blockSize;
    }

    /// <summary>Starts the sequence's table with the blocks found by the last <see cref="TryFindShared"/>.</summary>
    public void Attach(Sequence sequence)
    {
        sequence.Table.Reserve(BlocksFor(sequence.MaxLength));
        foreach (int block in CollectionsMarshal.AsSpan(_shared))
        {
            Tree.Acquire(block);
            sequence.Table.Add(block);
            if (prefixCache) Label(sequence, sequence.Table.Count - 1);
        }
        if (sequence.Planned >= 0) _needs?.Forget(sequence.Planned); // it holds what it needs, or computes it
        sequence.TreeBlocks = prefixCache ? _shared.Count : 0;
        sequence.ComputedLength = _shared.Count * blockSize;
    }

    /// <summary>Adds blocks until the table has this many slots or no block is left; returns the slots it has.</summary>
    public int Grow(Sequence sequence, int slots)
    {
        BlockTable table = sequence.Table;
        while (table.Count * blockSize < slots && TryTakeBlock(out int block))
        {
            table.Add(block);
            if (prefixCache) AnnouncePending(sequence, table.Count - 1);
        }
        return table.Count * blockSize;
    }

    /// <summary>Puts the sequence's newly computed full blocks into the tree.</summary>
    public void Publish(Sequence sequence)
    {
        if (!prefixCache) return;

        BlockTable table = sequence.Table;
        for (int i = sequence.TreeBlocks; i < sequence.ComputedLength / blockSize; i++)
        {
            int own = table[i], kept = Tree.Insert(ParentOf(table, i), TokensOfBlock(sequence, i), own);
            if (kept != own)
            {
                Tree.Acquire(kept);
                Tree.Release(own);
                table[i] = kept;
            }
            sequence.TreeBlocks = i + 1;
            Label(sequence, i);
        }
    }

    /// <summary>Tells that a new sequence waits, so that what it can share is kept for it.</summary>
    public void Expect(Sequence sequence)
    {
        if (_needs is null || sequence.Planned < 0) return;
        _needs.Wait(sequence.Planned, sequence.QueueKey);
        ReconsiderCached(sequence.Tokens);
    }

    /// <summary>Lets go of all blocks of a sequence that waits again, before all others; they are kept for it as long as possible.</summary>
    public void Preempt(Sequence sequence)
    {
        if (sequence.Planned >= 0) _needs?.WaitFirst(sequence.Planned);
        Release(sequence);
    }

    /// <summary>Tells that a waiting sequence never runs: what was kept for it alone is freed.</summary>
    public void Abandon(Sequence sequence)
    {
        if (_needs is null || sequence.Planned < 0) return;
        _needs.Forget(sequence.Planned);
        ReconsiderCached(sequence.Tokens);
    }

    /// <summary>Lets go of all blocks, last first: pending ones leave the tree from the end of their chain.</summary>
    public void Release(Sequence sequence)
    {
        BlockTable table = sequence.Table;
        for (int i = table.Count - 1; i >= 0; i--) Tree.Release(table[i]);
        table.Clear();
        sequence.TreeBlocks = 0;
        sequence.ComputedLength = 0;
    }

    /// <summary>
    /// Looks again at what is cached of these tokens, because the plan's needs of it changed. Only the last such block can be an idle leaf, so it is the only
    /// one whose place in the eviction queue can be another.
    /// </summary>
    public void ReconsiderCached(ReadOnlySpan<int> tokens)
    {
        if (Tree.IdleCount == 0) return;

        _shared.Clear();
        Tree.Match(tokens, tokens.Length / blockSize, _shared);
        if (_shared.Count > 0) Tree.Reconsider(_shared[^1]);
    }

    /// <summary>Number of blocks no other sequence holds. Sequences share beginnings only, so a binary search finds it.</summary>
    public int PrivateBlocks(Sequence sequence)
    {
        ReadOnlySpan<int> blocks = sequence.Table.Blocks;
        int low = 0, high = blocks.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            int holders = Pool.References(blocks[middle]) - (Tree.IsReady(blocks[middle]) ? 1 : 0);
            if (holders > 1) low = middle + 1;
            else high = middle;
        }
        return blocks.Length - low;
    }

    private bool FindInTree(Sequence candidate)
    {
        if (waits && Tree.IsPending(candidate.Awaited)) return false;

        // The last token is always computed: its row is what samples.
        PendingBlock? pending = Tree.Match(candidate.Tokens, (candidate.Length - 1) / blockSize, _shared);
        candidate.Awaited = pending ?? default;
        return pending is null || !waits;
    }

    private bool FindInSibling(Sequence candidate)
    {
        int sharable = (candidate.PromptLength - 1) / blockSize;
        if (candidate.Siblings is null || sharable == 0) return true;

        bool computing = false;
        foreach (Sequence sibling in candidate.Siblings)
        {
            if (sibling.Status != SequenceStatus.Running) continue;
            computing = true;
            if (sibling.ComputedLength < sharable * blockSize) continue;
            _shared.AddRange(sibling.Table.Blocks[..sharable]);
            return true;
        }
        return !computing || !waits;
    }

    private bool TryTakeBlock(out int block)
    {
        while (!Pool.TryAllocate(out block))
        {
            if (Tree.TryEvict()) Evictions++;
            else if (!EndPin()) return false;
        }
        return true;
    }

    private void Label(Sequence sequence, int index)
    {
        if (_needs is { } known && sequence.Planned >= 0) Tree.Label(sequence.Table[index], known.LabelOf(sequence.Planned, index));
    }

    private void AnnouncePending(Sequence sequence, int index)
    {
        if ((index + 1) * blockSize > sequence.Length) return; // holds tokens that are not known yet
        Tree.TryAddPending(ParentOf(sequence.Table, index), TokensOfBlock(sequence, index), sequence.Table[index]);
    }

    private ReadOnlySpan<int> TokensOfBlock(Sequence sequence, int index) => sequence.Tokens.Slice(index * blockSize, blockSize);

    private static int ParentOf(BlockTable table, int index) => index == 0 ? PrefixTree.Root : table[index - 1];
}
