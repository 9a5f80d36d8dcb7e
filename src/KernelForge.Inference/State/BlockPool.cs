namespace KernelForge.Inference;

/// <summary>Who owns the KV blocks 0..Capacity-1: a free list and a reference count per block. A block is free when its count is 0.</summary>
internal sealed class BlockPool
{
    private readonly int[] _references;
    private readonly int[] _free;

    public BlockPool(int capacity)
    {
        if (capacity < 1) throw new ArgumentException($"A block pool needs 1 block or more, got {capacity}.", nameof(capacity));

        _references = new int[capacity];
        _free = new int[capacity];
        for (int i = 0; i < capacity; i++) _free[i] = capacity - 1 - i; // block 0 is on top
        FreeCount = capacity;
    }

    public int Capacity => _references.Length;

    public int FreeCount { get; private set; }

    public int UsedCount => Capacity - FreeCount;

    public int References(int block) => _references[block];

    /// <summary>Takes a free block with one reference; false when there is none.</summary>
    public bool TryAllocate(out int block)
    {
        block = -1;
        if (FreeCount == 0) return false;

        block = _free[--FreeCount];
        _references[block] = 1;
        return true;
    }

    public void AddReference(int block)
    {
        RequireUsed(block);
        _references[block]++;
    }

    /// <summary>Gives one reference back and returns how many are left; with none left the block is free.</summary>
    public int Release(int block)
    {
        RequireUsed(block);
        if (--_references[block] == 0) _free[FreeCount++] = block;
        return _references[block];
    }

    /// <summary>Throws when the free list and the reference counts contradict each other.</summary>
    public void CheckIntegrity()
    {
        var free = new HashSet<int>(_free.AsSpan(0, FreeCount).ToArray());
        if (free.Count != FreeCount) throw new InvalidOperationException("BlockPool: a block is in the free list twice.");
        for (int block = 0; block < Capacity; block++)
        {
            if (_references[block] < 0 || free.Contains(block) != (_references[block] == 0))
                throw new InvalidOperationException($"BlockPool: block {block} has {_references[block]} references and free = {free.Contains(block)}.");
        }
    }

    private void RequireUsed(int block)
    {
        if ((uint)block >= (uint)Capacity) throw new ArgumentOutOfRangeException(nameof(block), block, $"Expected a block in [0, {Capacity}).");
        if (_references[block] == 0) throw new InvalidOperationException($"BlockPool: block {block} is free; expected one with references.");
    }
}
