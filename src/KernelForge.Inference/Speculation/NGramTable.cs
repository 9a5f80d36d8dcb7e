namespace KernelForge.Inference;

/// <summary>
/// Where each run of <paramref name="length"/> tokens of a sequence occurred last. Holds positions only and compares the tokens that stand there: a hash table
/// with open addressing, in which nothing is ever taken for something else.
/// </summary>
/// <param name="length">Tokens of a run, at least 1.</param>
internal sealed class NGramTable(int length)
{
    private const int FirstCapacity = 64; // a power of two, as all

    private int[] _ends = new int[FirstCapacity]; // where a run ends; 0: nothing
    private int _count;

    /// <summary>Tokens of a run.</summary>
    public int Length => length;

    /// <summary>Forgets all runs.</summary>
    public void Clear()
    {
        Array.Clear(_ends);
        _count = 0;
    }

    /// <summary>Adds the run that ends before position <paramref name="end"/>; it takes the place of an equal one.</summary>
    public void Add(ReadOnlySpan<int> tokens, int end)
    {
        if (2 * _count >= _ends.Length) Grow(tokens);
        ref int place = ref PlaceOf(tokens, tokens.Slice(end - length, length));
        if (place == 0) _count++;
        place = end;
    }

    /// <summary>The position behind the last run added that equals <paramref name="run"/>; 0 when there is none.</summary>
    /// <param name="tokens">The sequence, from its first token on.</param>
    /// <param name="run"><see cref="Length"/> tokens.</param>
    public int EndOf(ReadOnlySpan<int> tokens, ReadOnlySpan<int> run) => PlaceOf(tokens, run);

    private ref int PlaceOf(ReadOnlySpan<int> tokens, ReadOnlySpan<int> run)
    {
        int[] ends = _ends;
        int mask = ends.Length - 1, place = (int)HashOf(run) & mask;
        while (ends[place] != 0 && !tokens.Slice(ends[place] - length, length).SequenceEqual(run)) place = (place + 1) & mask;
        return ref ends[place];
    }

    private void Grow(ReadOnlySpan<int> tokens)
    {
        int[] old = _ends;
        _ends = new int[2 * old.Length];
        foreach (int end in old)
            if (end != 0) PlaceOf(tokens, tokens.Slice(end - length, length)) = end;
    }

    private static uint HashOf(ReadOnlySpan<int> run)
    {
        uint hash = 0;
        foreach (int token in run) hash = (hash ^ (uint)token) * 2654435761u;
        return hash ^ (hash >> 15);
    }
}
