namespace KernelForge.Inference;

/// <summary>Turns text into token ids and back. Implementations are immutable and safe to share between threads.</summary>
public interface ITokenizer
{
    /// <summary>Number of ids; every id is in [0, VocabularySize).</summary>
    int VocabularySize { get; }

    /// <summary>True when decoded text drops the space that a SentencePiece vocabulary puts before the first word.</summary>
    bool StripsLeadingSpace { get; }

    /// <summary>Ids of <paramref name="text"/>. Added tokens written out in the text become their ids.</summary>
    /// <param name="text">Text to encode.</param>
    /// <param name="addSpecialTokens">Adds what the model expects around a text, such as a begin-of-sequence token.</param>
    int[] Encode(string text, bool addSpecialTokens = true);

    /// <summary>Text of the ids. Bytes that form no UTF-8 character become U+FFFD.</summary>
    string Decode(ReadOnlySpan<int> tokenIds, bool skipSpecialTokens = true);

    /// <summary>The bytes a token stands for; a single token may be only a part of a character.</summary>
    ReadOnlySpan<byte> BytesOf(int tokenId);

    /// <summary>Whether the token controls the model (begin, end, padding) and is no part of the text.</summary>
    bool IsSpecial(int tokenId);

    /// <summary>Id of an added or ordinary token written exactly as <paramref name="token"/>, or null.</summary>
    int? IdOf(string token);
}
