using System.Globalization;
using System.Text;

namespace KernelForge.Inference;

/// <summary>The bytes of every token, in one array; an id without a token has none.</summary>
internal sealed class TokenBytes
{
    private readonly byte[] _bytes;
    private readonly int[] _starts;

    public TokenBytes(IReadOnlyDictionary<string, int> vocabulary, IReadOnlyCollection<AddedToken> addedTokens, TokenDecoder decoder)
    {
        Count = Math.Max(vocabulary.Values.DefaultIfEmpty(-1).Max(), addedTokens.Select(token => token.Id).DefaultIfEmpty(-1).Max()) + 1;
        var byId = new byte[]?[Count];
        foreach ((string written, int id) in vocabulary) byId[id] = Spell(written, decoder);
        foreach (AddedToken token in addedTokens) byId[token.Id] = Encoding.UTF8.GetBytes(token.Content);

        _starts = new int[Count + 1];
        for (int id = 0; id < Count; id++) _starts[id + 1] = _starts[id] + (byId[id]?.Length ?? 0);
        _bytes = new byte[_starts[Count]];
        for (int id = 0; id < Count; id++) byId[id]?.CopyTo(_bytes, _starts[id]);
    }

    public int Count { get; }

    public ReadOnlySpan<byte> this[int id] => (uint)id < (uint)Count ? _bytes.AsSpan(_starts[id].._starts[id + 1]) : [];

    private static byte[] Spell(string written, TokenDecoder decoder)
    {
        if (decoder.IsByteLevel) return ByteAlphabet.BytesOf(written) ?? Encoding.UTF8.GetBytes(written);
        if (decoder.ByteFallback && IsByteToken(written, out byte value)) return [value];
        return Encoding.UTF8.GetBytes(decoder.SpaceMark is char mark ? written.Replace(mark, ' ') : written);
    }

    private static bool IsByteToken(string written, out byte value)
    {
        value = 0;
        return written.Length == 6 && written.StartsWith("<0x", StringComparison.Ordinal) && written[5] == '>'
            && byte.TryParse(written.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
