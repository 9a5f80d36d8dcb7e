namespace KernelForge.Inference;

/// <summary>
/// How likely a model finds texts: the sum of −ln p of tokens, each given all tokens before it. Perplexity is e to the mean. A text that begins as
/// the one before it shares that one's work, so sorted texts are scored faster; the bits do not change.
/// </summary>
public sealed class TextScorer : IDisposable
{
    private const int Chunk = 256;

    private readonly Transformer _model;
    private readonly SequencePass _pass;
    private int[] _previous = [];

    /// <summary>Takes ownership of the model.</summary>
    /// <exception cref="OutOfMemoryException">The device has no room for keys and values of a text of the model's context.</exception>
    public TextScorer(Transformer model)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        long scores = 3 * Arena.Rounded(Chunk * sizeof(float));
        try
        {
            _pass = new SequencePass(model.Device, model.Config, model.ComputeType, model.Config.Layers, model.MaxContext, Chunk,
                Transformer.ArenaBytes(model.Config, model.ComputeType, Chunk, Chunk) + scores);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Most tokens of a text.</summary>
    public int MaxTokens => _model.MaxContext;

    /// <summary>−ln p of the tokens first, first + 1, ... of a text, summed in double precision.</summary>
    /// <param name="tokens">The text.</param>
    /// <param name="first">The first token to be scored, 1 or more: those before are given.</param>
    /// <param name="cancellationToken">Ends the work between two chunks.</param>
    /// <exception cref="ArgumentException">The text is too long, a token is none of the model's, or first is out of range.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public double Score(ReadOnlySpan<int> tokens, int first, CancellationToken cancellationToken = default)
    {
        if (first < 1 || first >= tokens.Length) throw new ArgumentException($"Score: the first token to score is {first} of {tokens.Length}; expected 1 to {tokens.Length - 1}.");
        if (tokens.Length > MaxTokens) throw new ArgumentException($"Score: {tokens.Length} tokens; the context has {MaxTokens}.");
        if (tokens.IndexOfAnyExceptInRange(0, _model.Config.VocabularySize - 1) is >= 0 and int at)
            throw new ArgumentException($"Score: token {at} is {tokens[at]}; the vocabulary has {_model.Config.VocabularySize} ids.");

        // The last token is no one's condition, and the logits of token first - 1 are needed.
        int shared = Math.Min(tokens.CommonPrefixLength(_previous), first - 1);
        _previous = [];
        double sum = 0;
        for (int start = shared; start < tokens.Length - 1; start += Chunk)
        {
            cancellationToken.ThrowIfCancellationRequested();
            sum += ScoreChunk(tokens, start, Math.Min(Chunk, tokens.Length - 1 - start), first);
        }
        _previous = tokens[..^1].ToArray();
        return sum;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pass.Dispose();
        _model.Dispose();
    }

    /// <summary>Computes some tokens and scores those that follow each of them, from <paramref name="first"/> on.</summary>
    private double ScoreChunk(ReadOnlySpan<int> tokens, int start, int length, int first)
    {
        StepBatch batch = _pass.Batch(tokens, start, length);
        int skipped = Math.Clamp(first - 1 - start, 0, length), rows = length - skipped;
        DeviceSpan<int> logitTokens = _pass.Arena.Span<int>(rows), chosen = _pass.Arena.Span<int>(rows);
        DeviceSpan<float> scores = _pass.Arena.Span<float>(rows);
        logitTokens.CopyFrom([.. Enumerable.Range(skipped, rows)]);
        chosen.CopyFrom(tokens.Slice(start + skipped + 1, rows));

        DeviceMatrix logits = _model.Forward(batch with { LogitTokens = logitTokens }, _pass.Cache, _pass.Arena);
        if (rows == 0) return 0;
        _model.Device.Operators.LogProbs(logits, chosen, scores, default, default);
        double sum = 0;
        foreach (float score in scores.ToArray()) sum -= score;
        return sum;
    }
}
