namespace KernelForge.Inference;

/// <summary>Everything a <see cref="BpeTokenizer"/> is made of.</summary>
internal sealed record TokenizerParts(
    BpeModelOptions Model,
    Normalizer? Normalizer,
    PreTokenizer PreTokenizer,
    TokenDecoder Decoder,
    IReadOnlyList<AddedToken> AddedTokens,
    int[] Before,
    int[] After,
    int? BeginOfSequenceId,
    int? EndOfSequenceId);
