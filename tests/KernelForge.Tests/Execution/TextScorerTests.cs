namespace KernelForge.Tests;

public class TextScorerTests
{
    // 600 tokens are three chunks; the first token to score is in the first, in the second, at a border of chunks and the last one.
    [Theory]
    [InlineData(1)]
    [InlineData(256)]
    [InlineData(257)]
    [InlineData(300)]
    [InlineData(599)]
    public void Score_IsTheLogarithmOfTheSoftmax(int first)
    {
        using TinyModel tiny = TinyModel.Create("llama");
        int[] tokens = Tokens(1, 600);
        using var scorer = new TextScorer(Transformer.Load(Device.Cpu, tiny.Folder));

        double score = scorer.Score(tokens, first);

        Assert.Equal(Expected(tiny, tokens, first), score, 1e-4 * (tokens.Length - first));
    }

    [Fact]
    public void Score_TextsThatBeginAlike_AreTheSameInAnyOrder()
    {
        using TinyModel tiny = TinyModel.Create("qwen3");
        int[] text = Tokens(2, 300), shorter = text[..100], other = [.. text[..150], .. Tokens(3, 90)];
        (int[] Tokens, int First)[] texts = [(text, 1), (shorter, 50), (text, 200), (other, 149), (other, 239), (text, 1), (text, 299)];

        double[] alone = [.. texts.Select(each =>
        {
            using var scorer = new TextScorer(Transformer.Load(Device.Cpu, tiny.Folder));
            return scorer.Score(each.Tokens, each.First);
        })];

        using var shared = new TextScorer(Transformer.Load(Device.Cpu, tiny.Folder));
        for (int i = 0; i < texts.Length; i++) Assert.Equal(alone[i], shared.Score(texts[i].Tokens, texts[i].First), 1e-9); // double sums of the same floats, cut otherwise
    }

    [Fact]
    public void Score_BadInput_IsRefused()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        using var scorer = new TextScorer(Transformer.Load(Device.Cpu, tiny.Folder));

        Assert.Contains("expected 1 to 2", Assert.Throws<ArgumentException>(() => scorer.Score([2, 3, 4], 0)).Message, StringComparison.Ordinal);
        Assert.Contains("expected 1 to 2", Assert.Throws<ArgumentException>(() => scorer.Score([2, 3, 4], 3)).Message, StringComparison.Ordinal);
        Assert.Contains("token 1 is 97; the vocabulary has 97 ids", Assert.Throws<ArgumentException>(() => scorer.Score([2, 97], 1)).Message, StringComparison.Ordinal);
        Assert.Contains("1025 tokens; the context has 1024", Assert.Throws<ArgumentException>(() => scorer.Score(new int[1025], 1)).Message, StringComparison.Ordinal);
        Assert.Throws<OperationCanceledException>(() => scorer.Score([2, 3], 1, new CancellationToken(canceled: true)));
    }

    /// <summary>From the logits that the double-precision reference gives for every position.</summary>
    private static double Expected(TinyModel tiny, int[] tokens, int first)
    {
        (double[] Logits, double[] Magnitudes)[] all = [.. new Reference.ReferenceTransformer(tiny.Config, tiny.Tensor).Run(tokens)];
        double sum = 0;
        for (int i = first; i < tokens.Length; i++)
        {
            double[] logits = all[i - 1].Logits;
            double most = logits.Max();
            sum += most + Math.Log(logits.Sum(logit => Math.Exp(logit - most))) - logits[tokens[i]];
        }
        return sum;
    }

    private static int[] Tokens(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(2, 97))];
    }
}
