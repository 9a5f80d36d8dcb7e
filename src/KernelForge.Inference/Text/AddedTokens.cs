using System.Buffers;
using System.Globalization;

namespace KernelForge.Inference;

/// <summary>A token of the <c>added_tokens</c> list: matched as a whole before the text is split into words.</summary>
/// <param name="Content">How it is written in a text.</param>
/// <param name="Id">Its id.</param>
/// <param name="IsSpecial">It controls the model and is no part of the text.</param>
/// <param name="StripsLeft">It swallows the white space before it.</param>
/// <param name="StripsRight">It swallows the white space after it.</param>
/// <param name="IsSingleWord">It matches only where no letter or digit touches it.</param>
/// <param name="IsNormalized">It is looked for in the normalised text instead of the raw one.</param>
internal sealed record AddedToken(
    string Content, int Id, bool IsSpecial, bool StripsLeft = false, bool StripsRight = false, bool IsSingleWord = false, bool IsNormalized = false);

/// <summary>Where an added token is in a text, the white space it swallows included.</summary>
internal readonly record struct AddedTokenMatch(int Start, int End, int Id);

/// <summary>Finds added tokens, leftmost first and longest first among those that start at the same place, with a trie.</summary>
internal sealed class AddedTokenFinder
{
    private readonly Dictionary<(int Node, char Next), int> _edges = [];
    private readonly Dictionary<int, AddedToken> _tokenAt = [];
    private readonly SearchValues<char> _firstCharacters;
    private int _nodeCount = 1;

    /// <param name="tokens">The tokens, each with the text it is looked for by.</param>
    public AddedTokenFinder(IEnumerable<(string Text, AddedToken Token)> tokens)
    {
        var first = new HashSet<char>();
        foreach ((string text, AddedToken token) in tokens)
        {
            if (text.Length == 0) continue;
            first.Add(text[0]);
            Insert(text, token);
        }
        _firstCharacters = SearchValues.Create([.. first]);
    }

    /// <summary>Finds the first match at or after <paramref name="from"/>; it strips no further left than that.</summary>
    public bool TryFind(ReadOnlySpan<char> text, int from, out AddedTokenMatch match)
    {
        int position = from;
        while (true)
        {
            int skipped = text[position..].IndexOfAny(_firstCharacters);
            if (skipped < 0)
            {
                match = default;
                return false;
            }
            position += skipped;
            AddedToken? token = LongestAt(text, position, out int end);
            if (token is not null && (!token.IsSingleWord || StandsAlone(text, position, end)))
            {
                match = Strip(text, from, position, end, token);
                return true;
            }
            position = token is null ? position + 1 : end;
        }
    }

    private void Insert(string text, AddedToken token)
    {
        int node = 0;
        foreach (char c in text)
        {
            if (!_edges.TryGetValue((node, c), out int child)) _edges[(node, c)] = child = _nodeCount++;
            node = child;
        }
        _tokenAt[node] = token;
    }

    private AddedToken? LongestAt(ReadOnlySpan<char> text, int start, out int end)
    {
        AddedToken? longest = null;
        end = start;
        for (int i = start, node = 0; i < text.Length && _edges.TryGetValue((node, text[i]), out node); i++)
        {
            if (!_tokenAt.TryGetValue(node, out AddedToken? token)) continue;
            (longest, end) = (token, i + 1);
        }
        return longest;
    }

    private static AddedTokenMatch Strip(ReadOnlySpan<char> text, int from, int start, int end, AddedToken token)
    {
        while (token.StripsLeft && start > from && char.IsWhiteSpace(text[start - 1])) start--;
        while (token.StripsRight && end < text.Length && char.IsWhiteSpace(text[end])) end++;
        return new AddedTokenMatch(start, end, token.Id);
    }

    private static bool StandsAlone(ReadOnlySpan<char> text, int start, int end) =>
        (start == 0 || !IsWordCharacter(text[start - 1])) && (end == text.Length || !IsWordCharacter(text[end]));

    // The \w of Unicode patterns; half of a surrogate pair counts as a letter, since most such characters are.
    private static bool IsWordCharacter(char c) => char.IsLetterOrDigit(c) || char.IsSurrogate(c) || char.GetUnicodeCategory(c) is
        UnicodeCategory.ConnectorPunctuation or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
        or UnicodeCategory.EnclosingMark or UnicodeCategory.LetterNumber;
}
