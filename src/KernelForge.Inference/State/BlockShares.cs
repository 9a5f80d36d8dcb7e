namespace KernelForge.Inference;

/// <summary>
/// Counts every block that running sequences hold for one of them: the one expected to hold it longest. Sequences share beginnings only, so what is
/// counted for a sequence is the end of its table, from <see cref="Sequence.CountedElsewhere"/> on.
/// </summary>
internal sealed class BlockShares(int blockCount)
{
    private readonly Sequence?[] _owners = new Sequence?[blockCount]; // of full blocks that are computed: others can be shared by nobody

    /// <summary>Brings counts up to date with when sequences are expected to end.</summary>
    public void Recount(List<Sequence> running)
    {
        foreach (Sequence sequence in running)
        {
            if (sequence.CountedElsewhere > 0) Claim(sequence);
        }
    }

    /// <summary>Counts the blocks of a sequence that has just started with shared ones.</summary>
    public void Start(Sequence sequence)
    {
        sequence.CountedElsewhere = sequence.Table.Count;
        Claim(sequence);
    }

    /// <summary>Takes note of blocks that the sequence has computed, or found computed by another when it had done so.</summary>
    public void Computed(Sequence sequence, int firstBlock, int endBlock)
    {
        for (int i = firstBlock; i < endBlock; i++)
        {
            ref Sequence? owner = ref _owners[sequence.Table[i]];
            if (owner is null) owner = sequence;
            else if (owner != sequence) Share(sequence, i, owner);
        }
    }

    /// <summary>Forgets a sequence that is about to let go of its blocks; those that others hold are nobody's until the next recount.</summary>
    public void End(Sequence sequence)
    {
        ReadOnlySpan<int> blocks = sequence.Table.Blocks;
        for (int i = sequence.CountedElsewhere; i < blocks.Length; i++)
        {
            if (_owners[blocks[i]] == sequence) _owners[blocks[i]] = null;
        }
        sequence.CountedElsewhere = 0;
    }

    /// <summary>
    /// Of the first <paramref name="held"/> shared blocks, all held by running sequences, those that they are expected to let go of before step
    /// <paramref name="end"/>, and the step in which the first one does.
    /// </summary>
    public (int Blocks, long FirstEnd) EndingBefore(long end, ReadOnlySpan<int> shared, int held)
    {
        int left = held;
        long firstEnd = long.MaxValue;
        while (left > 0 && _owners[shared[left - 1]] is { } owner && owner.ExpectedEnd < end)
        {
            firstEnd = Math.Min(firstEnd, owner.ExpectedEnd);
            left = Math.Min(left - 1, owner.CountedElsewhere);
        }
        return (held - left, firstEnd);
    }

    /// <summary>Throws when a block is counted for two sequences, or for none after a <see cref="Recount"/>.</summary>
    public void CheckIntegrity(IEnumerable<Sequence> running, int? blocksInUse)
    {
        var counted = new HashSet<int>();
        foreach (Sequence sequence in running)
        {
            for (int i = sequence.CountedElsewhere; i < sequence.Table.Count; i++)
            {
                int block = sequence.Table[i];
                if (!counted.Add(block)) throw new InvalidOperationException($"BlockShares: block {block} is counted twice.");
                if (_owners[block] is { } owner && owner != sequence)
                    throw new InvalidOperationException($"BlockShares: block {block} is counted for {sequence.Id} and known as of {owner.Id}.");
            }
        }
        if (blocksInUse is { } expected && counted.Count != expected)
            throw new InvalidOperationException($"BlockShares: {counted.Count} blocks are counted, {expected} are in use.");
    }

    /// <summary>Counts shared blocks for the sequence, from the last one up, while others end before it.</summary>
    private void Claim(Sequence sequence)
    {
        ReadOnlySpan<int> blocks = sequence.Table.Blocks;
        while (sequence.CountedElsewhere > 0)
        {
            ref Sequence? owner = ref _owners[blocks[sequence.CountedElsewhere - 1]];
            if (owner is not null && owner != sequence)
            {
                if (owner.ExpectedEnd >= sequence.ExpectedEnd) return;
                owner.CountedElsewhere = Math.Max(owner.CountedElsewhere, sequence.CountedElsewhere);
            }
            owner = sequence;
            sequence.CountedElsewhere--;
        }
    }

    /// <summary>The sequence's block is one that is counted for another, which shares all blocks before it too.</summary>
    private void Share(Sequence sequence, int index, Sequence owner)
    {
        if (owner.ExpectedEnd < sequence.ExpectedEnd)
        {
            sequence.CountedElsewhere = Math.Max(sequence.CountedElsewhere, index + 1);
            Claim(sequence);
            return;
        }

        if (sequence.CountedElsewhere < index) owner.CountedElsewhere = sequence.CountedElsewhere;
        for (int i = sequence.CountedElsewhere; i < index; i++) _owners[sequence.Table[i]] = owner;
        sequence.CountedElsewhere = index + 1;
    }
}
