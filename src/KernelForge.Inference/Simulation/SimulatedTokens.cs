namespace KernelForge.Inference;

/// <summary>Token ids that stand for text. Streams with different numbers have nothing in common; 0 is the end token and in none of them.</summary>
internal static class SimulatedTokens
{
    public const int End = 0;
    private const int Vocabulary = 32_000;

    public static int At(ulong stream, int position) => 1 + (int)(SimulatedRandom.Hash(stream, (ulong)position) % (Vocabulary - 1));

    /// <summary>The first tokens of a stream.</summary>
    public static void Fill(Span<int> tokens, ulong stream)
    {
        for (int i = 0; i < tokens.Length; i++) tokens[i] = At(stream, i);
    }

    /// <summary>A number for a stream that has a name.</summary>
    public static ulong StreamOf(string name)
    {
        ulong hash = 0;
        foreach (char c in name) hash = SimulatedRandom.Hash(hash, c);
        return hash;
    }
}
