namespace KernelForge.Inference;

/// <summary>
/// The blocks of sequences that all gain as many slots in a step: a sequence has so many slots in step 0, perhaps fewer than none, and is counted by
/// whole blocks and by the part of a block that is left.
/// </summary>
internal sealed class GrowingBlocks(int blockSize, int slotsPerStep)
{
    private readonly int[] _parts = new int[blockSize]; // sequences by the slots in their last, partly filled block
    private long _wholeBlocks;

    /// <summary>Number of sequences.</summary>
    public int Count { get; private set; }

    public void Clear()
    {
        (Count, _wholeBlocks) = (0, 0);
        Array.Clear(_parts);
    }

    public void Add(long slotsAtStart) => Add(slotsAtStart, 1);

    public void Remove(long slotsAtStart) => Add(slotsAtStart, -1);

    /// <summary>Blocks that all of them have in a step.</summary>
    public long BlocksAt(int step)
    {
        (long blocks, long gained) = Math.DivRem((long)slotsPerStep * step, blockSize);
        int begun = gained == 0 ? Count - _parts[0] : Count, secondBegun = 0;
        for (int part = blockSize + 1 - (int)gained; part < blockSize; part++) secondBegun += _parts[part];
        return _wholeBlocks + Count * blocks + begun + secondBegun;
    }

    private void Add(long slotsAtStart, int sequences)
    {
        int part = (int)(slotsAtStart % blockSize);
        if (part < 0) part += blockSize;
        _parts[part] += sequences;
        _wholeBlocks += sequences * ((slotsAtStart - part) / blockSize);
        Count += sequences;
    }
}
