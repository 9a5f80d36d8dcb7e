namespace KernelForge.Bench;

/// <summary>The right answers of the models of <c>bench/peers/make_models.py</c>: the most likely token after each token, whatever came before.</summary>
internal static class PlantedChain
{
    private const int Vocabulary = 32_000, FirstWord = 260, Stride = 7919;

    /// <summary>The token that follows.</summary>
    public static int After(int token) => Word(token >= FirstWord ? token - FirstWord + Stride : token * 97 + 13);

    /// <summary>A token that is a word, by a number from 0; numbers go round.</summary>
    public static int Word(int number) => FirstWord + number % (Vocabulary - FirstWord);
}
