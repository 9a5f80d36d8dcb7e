using System.Buffers;
using System.Text;

namespace KernelForge.Inference;

/// <summary>
/// Byte-pair tokenizer of the byte-level (GPT-2, Llama-3, Qwen) and SentencePiece (Llama-2, Mistral) kinds.
/// Made by <see cref="TokenizerLoader"/>; immutable but for a bounded cache of words, safe to share between threads.
/// </summary>
/// <remarks>
/// Encoding follows the Hugging Face order: added tokens of the raw text, normalisation, added tokens of the normalised text,
/// words, merges, and the tokens the model expects around a text. A byte or character without a token, where the model has
/// neither byte tokens nor an unknown token, is left out.
/// </remarks>
public sealed class BpeTokenizer : ITokenizer
{
    private readonly BpeModel _model;
    private readonly Normalizer? _normalizer;
    private readonly PreTokenizer _preTokenizer;
    private readonly AddedTokenFinder _rawTokens;
    private readonly AddedTokenFinder _normalizedTokens;
    private readonly TokenBytes _tokenBytes;
    private readonly Dictionary<string, int> _ids;
    private readonly HashSet<int> _specialIds;
    private readonly int[] _before;
    private readonly int[] _after;

    internal BpeTokenizer(TokenizerParts parts)
    {
        _model = new BpeModel(parts.Model);
        (_normalizer, _preTokenizer) = (parts.Normalizer, parts.PreTokenizer);
        (_before, _after) = (parts.Before, parts.After);
        (BeginOfSequenceId, EndOfSequenceId) = (parts.BeginOfSequenceId, parts.EndOfSequenceId);
        _rawTokens = new(parts.AddedTokens.Where(token => !token.IsNormalized).Select(token => (token.Content, token)));
        _normalizedTokens = new(parts.AddedTokens.Where(token => token.IsNormalized)
            .Select(token => (_normalizer is null ? token.Content : _normalizer(token.Content), token)));
        _tokenBytes = new TokenBytes(parts.Model.Vocabulary, parts.AddedTokens, parts.Decoder);
        StripsLeadingSpace = parts.Decoder.StripsLeadingSpace;
        _ids = new Dictionary<string, int>(parts.Model.Vocabulary, StringComparer.Ordinal);
        foreach (AddedToken token in parts.AddedTokens) _ids[token.Content] = token.Id;
        _specialIds = [.. parts.AddedTokens.Where(token => token.IsSpecial).Select(token => token.Id)];
    }

    /// <inheritdoc/>
    public int VocabularySize => _tokenBytes.Count;

    /// <inheritdoc/>
    public bool StripsLeadingSpace { get; }

    /// <summary>Id of the <c>bos_token</c> that <c>tokenizer_config.json</c> names, or null.</summary>
    public int? BeginOfSequenceId { get; }

    /// <summary>Id of the <c>eos_token</c> that <c>tokenizer_config.json</c> names, or null.</summary>
    public int? EndOfSequenceId { get; }

    /// <inheritdoc/>
    public int[] Encode(string text, bool addSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        var output = new List<int>(text.Length / 3 + 8);
        if (addSpecialTokens) output.AddRange(_before);

        PairMerger merger = _model.CreateMerger();
        int position = 0;
        while (_rawTokens.TryFind(text, position, out AddedTokenMatch match))
        {
            EncodeRaw(text[position..match.Start], position == 0, merger, output);
            output.Add(match.Id);
            position = match.End;
        }
        EncodeRaw(position == 0 ? text : text[position..], position == 0, merger, output);

        if (addSpecialTokens) output.AddRange(_after);
        return [.. output];
    }

    /// <inheritdoc/>
    /// <remarks>An id without a token gives no text: models have more output rows than tokens.</remarks>
    public string Decode(ReadOnlySpan<int> tokenIds, bool skipSpecialTokens = true)
    {
        var bytes = new ArrayBufferWriter<byte>(tokenIds.Length * 4 + 16);
        foreach (int id in tokenIds)
        {
            if (!skipSpecialTokens || !IsSpecial(id)) bytes.Write(BytesOf(id));
        }
        ReadOnlySpan<byte> written = bytes.WrittenSpan;
        bool strip = StripsLeadingSpace && written.Length > 0 && written[0] == ' ';
        return Encoding.UTF8.GetString(strip ? written[1..] : written);
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> BytesOf(int tokenId)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(tokenId);
        return _tokenBytes[tokenId];
    }

    /// <inheritdoc/>
    public bool IsSpecial(int tokenId) => _specialIds.Contains(tokenId);

    /// <inheritdoc/>
    public int? IdOf(string token)
    {
        ArgumentNullException.ThrowIfNull(token);
        return _ids.TryGetValue(token, out int id) ? id : null;
    }

    private void EncodeRaw(string segment, bool atStart, PairMerger merger, List<int> output)
    {
        if (segment.Length == 0) return;
        string text = _normalizer is null ? segment : _normalizer(segment);
        int position = 0;
        while (_normalizedTokens.TryFind(text, position, out AddedTokenMatch match))
        {
            EncodeWords(text[position..match.Start], atStart && position == 0, merger, output);
            output.Add(match.Id);
            position = match.End;
        }
        EncodeWords(position == 0 ? text : text[position..], atStart && position == 0, merger, output);
    }

    private void EncodeWords(string piece, bool atStart, PairMerger merger, List<int> output)
    {
        if (piece.Length == 0) return;
        string text = _preTokenizer.Prepare(piece, atStart);
        for (int start = 0; start < text.Length;)
        {
            int end = _preTokenizer.Next(text, start);
            _model.Encode(text.AsSpan(start..end), merger, output);
            start = end;
        }
    }
}
