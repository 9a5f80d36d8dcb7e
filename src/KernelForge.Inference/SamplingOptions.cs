namespace KernelForge.Inference;

/// <summary>How the next token is chosen and when a sequence ends. Immutable; the defaults are greedy.</summary>
public sealed record SamplingOptions
{
    /// <summary>The seed of a request that names none. Fixed, so that the same request always gets the same tokens.</summary>
    public const ulong DefaultSeed = 0;

    /// <summary>Most entries of a log-probability list.</summary>
    public const int MaxLogProbs = 100;

    /// <summary>Most entries of <see cref="LogitBias"/>.</summary>
    public const int MaxLogitBias = 1024;

    /// <summary>Most entries of <see cref="StopTokenIds"/>.</summary>
    public const int MaxStopTokens = 1024;

    /// <summary>Largest <see cref="N"/>.</summary>
    public const int MaxSamples = 1024;

    /// <summary>Greedy, 256 tokens.</summary>
    public static SamplingOptions Default { get; } = new();

    /// <summary>Divides the logits; 0 takes the most likely token.</summary>
    public float Temperature { get; init; }

    /// <summary>Keeps the most likely tokens only, this many; 0 keeps all.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the smallest set of most likely tokens whose probabilities reach this sum, in (0, 1].</summary>
    public float TopP { get; init; } = 1;

    /// <summary>Drops tokens less likely than this fraction of the most likely one, in [0, 1].</summary>
    public float MinP { get; init; }

    /// <summary>Divides positive and multiplies negative logits of tokens already seen, prompt included; 1 is off.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from the logit of a token generated before, once; in [-2, 2].</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Subtracted from the logit of a token for every time it was generated before; in [-2, 2].</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>
    /// Seed of the random numbers; null means <see cref="DefaultSeed"/>. Sample i of a request has a seed of its own made of
    /// this one and i, and a random number depends on that seed and the token's position only.
    /// </summary>
    public ulong? Seed { get; init; }

    /// <summary>Most tokens to generate; the model's context length is a limit too.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Tokens to generate before an end token, a stop token or a stop string can end the sequence.</summary>
    public int MinTokens { get; init; }

    /// <summary>Token ids that end the sequence, besides the model's own end tokens. The id stays in the output, its text does not.</summary>
    public IReadOnlyList<int> StopTokenIds { get; init; } = [];

    /// <summary>Texts that end the sequence. Output text is cut before the one that begins first.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>Goes on after the model's end token.</summary>
    public bool IgnoreEndToken { get; init; }

    /// <summary>Keeps the stop string, or the stop token's text, in the output text.</summary>
    public bool IncludeStopString { get; init; }

    /// <summary>Number of most likely tokens to report with every token, beside the chosen one's log-probability; null reports nothing.</summary>
    public int? LogProbs { get; init; }

    /// <summary>Added to the logits of single token ids.</summary>
    public IReadOnlyDictionary<int, float> LogitBias { get; init; } = new Dictionary<int, float>();

    /// <summary>Independent samples of the same prompt.</summary>
    public int N { get; init; } = 1;

    /// <summary>Checks every option's range. Throws <see cref="ArgumentException"/> naming the option, its range and its value.</summary>
    public void Validate()
    {
        Require(Temperature >= 0 && float.IsFinite(Temperature), nameof(Temperature), "finite and not negative", Temperature);
        Require(TopK >= 0, nameof(TopK), "0 (off) or more", TopK);
        Require(TopP > 0 && TopP <= 1, nameof(TopP), "in (0, 1]", TopP);
        Require(MinP >= 0 && MinP <= 1, nameof(MinP), "in [0, 1]", MinP);
        Require(RepetitionPenalty > 0 && float.IsFinite(RepetitionPenalty), nameof(RepetitionPenalty), "finite and positive", RepetitionPenalty);
        Require(Math.Abs(PresencePenalty) <= 2, nameof(PresencePenalty), "in [-2, 2]", PresencePenalty);
        Require(Math.Abs(FrequencyPenalty) <= 2, nameof(FrequencyPenalty), "in [-2, 2]", FrequencyPenalty);
        Require(MaxTokens >= 1, nameof(MaxTokens), "1 or more", MaxTokens);
        Require(MinTokens >= 0 && MinTokens <= MaxTokens, nameof(MinTokens), $"in [0, MaxTokens = {MaxTokens}]", MinTokens);
        Require(LogProbs is null or (>= 0 and <= MaxLogProbs), nameof(LogProbs), $"null or in [0, {MaxLogProbs}]", LogProbs);
        Require(N is >= 1 and <= MaxSamples, nameof(N), $"in [1, {MaxSamples}]", N);
        Require(StopTokenIds.Count <= MaxStopTokens, nameof(StopTokenIds), $"at most {MaxStopTokens} ids", StopTokenIds.Count);
        Require(LogitBias.Count <= MaxLogitBias, nameof(LogitBias), $"at most {MaxLogitBias} entries", LogitBias.Count);
        foreach (int id in StopTokenIds) Require(id >= 0, nameof(StopTokenIds), "not negative", id);
        foreach (string text in StopStrings) Require(text.Length > 0, nameof(StopStrings), "not empty", text);
        foreach ((int id, float bias) in LogitBias)
        {
            Require(id >= 0, nameof(LogitBias), "keyed by token ids that are not negative", id);
            Require(bias < float.PositiveInfinity, nameof(LogitBias), "finite or negative infinity", bias);
        }
    }

    private static void Require<T>(bool holds, string option, string expected, T value)
    {
        if (!holds) throw new ArgumentException($"SamplingOptions.{option} must be {expected}, not {value}.", option);
    }
}
