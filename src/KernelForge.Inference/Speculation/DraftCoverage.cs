namespace KernelForge.Inference;

/// <summary>
/// For every block, how many of its leading positions have keys and values of the draft model that belong to the tokens the block is for. Blocks are those of
/// the target, so what one sequence covered is covered for all that share the block, and stays so while the block is cached.
/// </summary>
/// <remarks>
/// What may be stale is at or behind a context length, and every row says where that is: there the target computes a position for the first time since its block
/// got an owner, or over a rejected draft. So <see cref="Forget"/> has to be told of every row of every plan, also of those that draft nothing.
/// </remarks>
/// <param name="blocks">Blocks of the cache.</param>
/// <param name="blockSize">Positions of a block.</param>
internal sealed class DraftCoverage(int blocks, int blockSize)
{
    private readonly int[] _covered = new int[blocks];

    /// <summary>Forgets positions from the context length on: other tokens come there.</summary>
    public void Forget(ReadOnlySpan<int> table, int contextLength)
    {
        int index = contextLength / blockSize, kept = contextLength % blockSize;
        for (; index < table.Length; index++, kept = 0)
        {
            ref int covered = ref _covered[table[index]];
            covered = Math.Min(covered, kept);
        }
    }

    /// <summary>
    /// How far a table is covered from its beginning without a gap. Goes through the table from the front: a sequence can be given another's block for a
    /// beginning, whose draft KV nobody computed, after it covered what follows.
    /// </summary>
    /// <param name="table">Blocks of a sequence.</param>
    /// <param name="known">Leading positions that are known to be covered.</param>
    public int LengthOf(ReadOnlySpan<int> table, int known = 0)
    {
        int index = known / blockSize;
        while (index < table.Length && _covered[table[index]] == blockSize) index++;
        return index * blockSize + (index < table.Length ? _covered[table[index]] : 0);
    }

    /// <summary>
    /// Notes that positions [from, to) get their keys and values. From is not behind <see cref="LengthOf"/>. True for rows of the same pass at once: in every layer
    /// keys and values are stored before attention reads any.
    /// </summary>
    public void Cover(ReadOnlySpan<int> table, int from, int to)
    {
        for (int index = from / blockSize; index * blockSize < to; index++)
        {
            ref int covered = ref _covered[table[index]];
            covered = Math.Max(covered, Math.Min(blockSize, to - index * blockSize));
        }
    }
}
