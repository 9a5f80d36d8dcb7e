namespace KernelForge.Inference;

/// <summary>The KV blocks of one sequence in position order: token position p is in block p / blockSize.</summary>
public sealed class BlockTable
{
    private int[] _blocks = [];

    /// <summary>Number of blocks.</summary>
    public int Count { get; private set; }

    /// <summary>Id of the block at an index in [0, Count).</summary>
    public int this[int index]
    {
        get => Blocks[index];
        internal set => _blocks.AsSpan(0, Count)[index] = value;
    }

    /// <summary>All block ids. The span is valid until the table grows.</summary>
    public ReadOnlySpan<int> Blocks => _blocks.AsSpan(0, Count);

    internal void Add(int block)
    {
        if (Count == _blocks.Length) Reserve(Math.Max(4, 2 * Count));
        _blocks[Count++] = block;
    }

    internal void Reserve(int capacity)
    {
        if (capacity > _blocks.Length) Array.Resize(ref _blocks, capacity);
    }

    internal void Clear() => Count = 0;
}
