using System.Globalization;
using System.Text;

namespace KernelForge.Inference;

/// <summary>Returns the end of the word that starts at <paramref name="start"/>; the words of a text cover it without gaps.</summary>
internal delegate int WordScanner(ReadOnlySpan<char> text, int start);

/// <summary>
/// The pre-tokeniser patterns of the supported model families as scanners over Unicode scalar values.
/// </summary>
/// <remarks>
/// .NET regular expressions see UTF-16 units, so <c>\p{L}</c> misses letters outside the basic plane; the patterns are
/// defined over code points. <c>\s</c> is the Unicode White_Space set, all of it in the basic plane.
/// </remarks>
internal static class WordScanners
{
    public const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    public const string Llama3Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    public const string Qwen2Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private enum Kind { Letter, Number, Space, Other }

    public static int Whole(ReadOnlySpan<char> text, int start) => text.Length;

    public static int Llama3(ReadOnlySpan<char> text, int start) => ScanModern(text, start, maxDigits: 3);

    public static int Qwen2(ReadOnlySpan<char> text, int start) => ScanModern(text, start, maxDigits: 1);

    public static int Gpt2(ReadOnlySpan<char> text, int start)
    {
        int contraction = ContractionEnd(text, start, ignoreCase: false);
        if (contraction > 0) return contraction;

        int body = text[start] == ' ' && start + 1 < text.Length ? start + 1 : start;
        Kind kind = KindAt(text, body, out _);
        return kind == Kind.Space ? SpaceEnd(text, start) : RunEnd(text, body, kind);
    }

    /// <summary>Every <paramref name="mark"/> starts a word.</summary>
    public static WordScanner BeforeEach(char mark) => (text, start) =>
    {
        int next = text[(start + 1)..].IndexOf(mark);
        return next < 0 ? text.Length : start + 1 + next;
    };

    /// <summary>A run of <paramref name="mark"/> starts a word.</summary>
    public static WordScanner BeforeRunsOf(char mark) => (text, start) =>
    {
        int run = text[start..].IndexOfAnyExcept(mark);
        if (run < 0) return text.Length;
        int next = text[(start + run)..].IndexOf(mark);
        return next < 0 ? text.Length : start + run + next;
    };

    private static int ScanModern(ReadOnlySpan<char> text, int start, int maxDigits)
    {
        int contraction = ContractionEnd(text, start, ignoreCase: true);
        if (contraction > 0) return contraction;

        Kind kind = KindAt(text, start, out int length);
        int after = start + length;
        if (kind == Kind.Letter) return RunEnd(text, start, Kind.Letter);
        if (kind == Kind.Number) return NumberEnd(text, start, maxDigits);

        bool lineBreak = text[start] is '\r' or '\n';
        if (!lineBreak && after < text.Length && KindAt(text, after, out _) == Kind.Letter) return RunEnd(text, after, Kind.Letter);
        if (kind == Kind.Other) return LineBreaksEnd(text, RunEnd(text, start, Kind.Other));
        if (text[start] == ' ' && after < text.Length && KindAt(text, after, out _) == Kind.Other)
            return LineBreaksEnd(text, RunEnd(text, after, Kind.Other));

        int end = RunEnd(text, start, Kind.Space);
        int lastBreak = text[start..end].LastIndexOfAny('\r', '\n');
        return lastBreak >= 0 ? start + lastBreak + 1 : SpaceEnd(text, start);
    }

    /// <summary><c>\s+(?!\S)|\s+</c>: a run of spaces leaves its last one to the word that follows.</summary>
    private static int SpaceEnd(ReadOnlySpan<char> text, int start)
    {
        int end = RunEnd(text, start, Kind.Space);
        return end < text.Length && end - start > 1 ? end - 1 : end;
    }

    private static int ContractionEnd(ReadOnlySpan<char> text, int start, bool ignoreCase)
    {
        if (text[start] != '\'' || start + 1 >= text.Length) return 0;
        char first = Fold(text[start + 1], ignoreCase);
        if (first is 's' or 't' or 'm' or 'd') return start + 2;
        if (start + 2 >= text.Length) return 0;
        char second = Fold(text[start + 2], ignoreCase);
        return (first, second) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? start + 3 : 0;
    }

    // The long s folds to s wherever case is ignored in a Unicode pattern.
    private static char Fold(char c, bool ignoreCase) => !ignoreCase ? c : c == 'ſ' ? 's' : char.IsAsciiLetterUpper(c) ? (char)(c | 0x20) : c;

    private static int NumberEnd(ReadOnlySpan<char> text, int start, int maxDigits)
    {
        int end = start;
        for (int digits = 0; digits < maxDigits && end < text.Length; digits++)
        {
            if (KindAt(text, end, out int length) != Kind.Number) break;
            end += length;
        }
        return end;
    }

    private static int LineBreaksEnd(ReadOnlySpan<char> text, int start)
    {
        int length = text[start..].IndexOfAnyExcept('\r', '\n');
        return length < 0 ? text.Length : start + length;
    }

    private static int RunEnd(ReadOnlySpan<char> text, int start, Kind kind)
    {
        int end = start;
        while (end < text.Length && KindAt(text, end, out int length) == kind) end += length;
        return end;
    }

    private static Kind KindAt(ReadOnlySpan<char> text, int index, out int length)
    {
        char c = text[index];
        length = 1;
        if (char.IsAscii(c))
            return char.IsAsciiLetter(c) ? Kind.Letter : char.IsAsciiDigit(c) ? Kind.Number : char.IsWhiteSpace(c) ? Kind.Space : Kind.Other;
        if (char.IsWhiteSpace(c)) return Kind.Space;
        Rune.DecodeFromUtf16(text[index..], out Rune rune, out length);
        return Rune.GetUnicodeCategory(rune) switch
        {
            <= UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
