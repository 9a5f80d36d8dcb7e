using System.Collections.Concurrent;
using System.Text;

namespace KernelForge.Inference;

/// <summary>What the <c>model</c> section of a <c>tokenizer.json</c> says.</summary>
internal sealed record BpeModelOptions(
    Dictionary<string, int> Vocabulary,
    Dictionary<TokenPair, MergeRule> Merges,
    bool IsByteLevel,
    bool ByteFallback = false,
    bool FusesUnknown = false,
    bool IgnoresMerges = false,
    int? UnknownId = null);

/// <summary>
/// Turns one word into token ids by byte-pair encoding, arXiv:1508.07909: starts from bytes or characters and merges pairs.
/// Remembers a bounded number of words; safe to share between threads.
/// </summary>
internal sealed class BpeModel
{
    private const int CachedWords = 1 << 16;
    private const int LongestCachedWord = 32;
    private const int LongestOnStack = 1024;

    private readonly BpeModelOptions _options;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _vocabulary;
    private readonly int[] _byteIds = new int[256];
    private readonly bool _fallsBackToBytes;
    private readonly int _longestToken;
    private readonly ConcurrentDictionary<string, int[]> _cache = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _cached;
    private int _cachedCount;

    public BpeModel(BpeModelOptions options)
    {
        _options = options;
        _vocabulary = options.Vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _cached = _cache.GetAlternateLookup<ReadOnlySpan<char>>();
        for (int value = 0; value < 256; value++)
        {
            string written = options.IsByteLevel ? ByteAlphabet.CharacterOf((byte)value).ToString() : $"<0x{value:X2}>";
            _byteIds[value] = options.Vocabulary.GetValueOrDefault(written, -1);
        }
        _longestToken = options.Vocabulary.Keys.Max(token => token.Length);
        _fallsBackToBytes = options.ByteFallback && !options.IsByteLevel;
    }

    public PairMerger CreateMerger() => new(_options.Merges);

    /// <summary>Appends the ids of <paramref name="word"/>.</summary>
    public void Encode(ReadOnlySpan<char> word, PairMerger merger, List<int> output)
    {
        if (word.Length <= LongestCachedWord && _cached.TryGetValue(word, out int[]? known))
        {
            output.AddRange(known);
            return;
        }
        merger.Clear();
        ReadOnlySpan<int> ids;
        if (_options.IgnoresMerges && WholeWordId(word) is int whole)
        {
            merger.Add(whole);
            ids = merger.Merge();
        }
        else
        {
            if (_options.IsByteLevel) AddBytes(word, merger);
            else AddCharacters(word, merger);
            ids = merger.Merge();
        }
        output.AddRange(ids);
        Remember(word, ids);
    }

    private void Remember(ReadOnlySpan<char> word, ReadOnlySpan<int> ids)
    {
        if (word.Length > LongestCachedWord || Volatile.Read(ref _cachedCount) >= CachedWords) return;
        if (_cached.TryAdd(word, ids.ToArray())) Interlocked.Increment(ref _cachedCount);
    }

    private int? WholeWordId(ReadOnlySpan<char> word)
    {
        if (!_options.IsByteLevel) return _vocabulary.TryGetValue(word, out int plain) ? plain : null;

        int length = Encoding.UTF8.GetByteCount(word);
        if (length > Math.Min(_longestToken, LongestOnStack)) return null;
        Span<byte> bytes = stackalloc byte[length];
        Span<char> written = stackalloc char[length];
        Encoding.UTF8.GetBytes(word, bytes);
        for (int i = 0; i < length; i++) written[i] = ByteAlphabet.CharacterOf(bytes[i]);
        return _vocabulary.TryGetValue(written, out int id) ? id : null;
    }

    private void AddBytes(ReadOnlySpan<char> word, PairMerger merger)
    {
        Span<byte> utf8 = stackalloc byte[4];
        bool afterUnknown = false;
        foreach (Rune rune in word.EnumerateRunes())
        {
            foreach (byte value in utf8[..rune.EncodeToUtf8(utf8)]) AddOrUnknown(_byteIds[value], merger, ref afterUnknown);
        }
    }

    private void AddCharacters(ReadOnlySpan<char> word, PairMerger merger)
    {
        Span<char> utf16 = stackalloc char[2];
        bool afterUnknown = false;
        foreach (Rune rune in word.EnumerateRunes())
        {
            bool known = _vocabulary.TryGetValue(utf16[..rune.EncodeToUtf16(utf16)], out int id);
            if (!known && _fallsBackToBytes && TryAddFallback(rune, merger)) afterUnknown = false;
            else AddOrUnknown(known ? id : -1, merger, ref afterUnknown);
        }
    }

    private bool TryAddFallback(Rune rune, PairMerger merger)
    {
        Span<byte> utf8 = stackalloc byte[4];
        utf8 = utf8[..rune.EncodeToUtf8(utf8)];
        foreach (byte value in utf8)
        {
            if (_byteIds[value] < 0) return false;
        }
        foreach (byte value in utf8) merger.Add(_byteIds[value]);
        return true;
    }

    /// <summary>A symbol without a token becomes the unknown token, once for a run where the model fuses them, or nothing.</summary>
    private void AddOrUnknown(int id, PairMerger merger, ref bool afterUnknown)
    {
        bool unknown = id < 0;
        if (!unknown) merger.Add(id);
        else if (_options.UnknownId is int unknownId && !(afterUnknown && _options.FusesUnknown)) merger.Add(unknownId);
        afterUnknown = unknown;
    }
}
