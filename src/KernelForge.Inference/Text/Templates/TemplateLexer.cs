using System.Globalization;
using System.Text;

namespace KernelForge.Inference;

/// <summary>
/// Cuts a template into tokens and settles white space the way Hugging Face sets Jinja up: trim_blocks (the line break after a
/// statement or comment goes) and lstrip_blocks (so does the indentation before it), one last line break of the file goes too.
/// </summary>
internal sealed class TemplateLexer
{
    private static readonly string[] Symbols =
        ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"];

    private readonly string source;
    private readonly List<TemplateToken> tokens = [];
    private int position;

    private TemplateLexer(string source) => this.source = source;

    public static List<TemplateToken> Tokenize(string template)
    {
        string source = template.ReplaceLineEndings("\n");
        var lexer = new TemplateLexer(source.EndsWith('\n') ? source[..^1] : source);
        lexer.Run();
        return lexer.tokens;
    }

    private int Line => source.AsSpan(0, Math.Min(position, source.Length)).Count('\n') + 1;

    private void Run()
    {
        bool stripStart = false, trimLineBreak = false;
        while (true)
        {
            int tag = FindTag(position);
            AddText(tag, stripStart, trimLineBreak);
            if (tag == source.Length) break;

            position = tag;
            char kind = source[tag + 1];
            if (kind == '#') stripStart = SkipComment();
            else stripStart = ReadTag(kind);
            trimLineBreak = kind != '{' && source[position - 3] != '+';
        }
        Add(TemplateTokenKind.End, "");
    }

    private int FindTag(int from)
    {
        for (int at = from; (at = source.IndexOf('{', at)) >= 0 && at + 1 < source.Length; at++)
        {
            if (source[at + 1] is '{' or '%' or '#') return at;
        }
        return source.Length;
    }

    /// <summary>Adds the text before the tag at <paramref name="end"/>, less what the tags on both sides take away.</summary>
    private void AddText(int end, bool stripStart, bool trimLineBreak)
    {
        int start = position;
        if (stripStart)
        {
            while (start < end && char.IsWhiteSpace(source[start])) start++;
        }
        else if (trimLineBreak && start < end && source[start] == '\n') start++;

        int stop = end;
        if (end < source.Length)
        {
            char sign = end + 2 < source.Length ? source[end + 2] : ' ';
            if (sign == '-')
            {
                while (stop > start && char.IsWhiteSpace(source[stop - 1])) stop--;
            }
            else if (source[end + 1] != '{' && sign != '+') stop = IndentationStart(start, end);
        }
        if (stop > start) tokens.Add(new TemplateToken(TemplateTokenKind.Text, source[start..stop], Line));
    }

    /// <summary>Where the white space before a tag starts if it is all there is on its line, otherwise the tag itself.</summary>
    private int IndentationStart(int start, int tag)
    {
        int at = tag;
        while (at > start && char.IsWhiteSpace(source[at - 1]) && source[at - 1] != '\n') at--;
        return at == 0 || source[at - 1] == '\n' ? at : tag;
    }

    private bool SkipComment()
    {
        int end = source.IndexOf("#}", position + 2, StringComparison.Ordinal);
        if (end < 0) throw Failure("a comment {# without its end #}");
        position = end + 2;
        return source[end - 1] == '-';
    }

    /// <summary>Reads the tokens of a tag; returns whether it takes away the white space after it.</summary>
    private bool ReadTag(char kind)
    {
        Add(kind == '{' ? TemplateTokenKind.OpenExpression : TemplateTokenKind.OpenStatement, source[position..(position + 2)]);
        string close = kind == '{' ? "}}" : "%}";
        position += position + 2 < source.Length && source[position + 2] is '-' or '+' ? 3 : 2;
        int depth = 0;
        while (true)
        {
            while (position < source.Length && char.IsWhiteSpace(source[position])) position++;
            if (position >= source.Length) throw Failure($"a tag without its end {close}");
            if (depth == 0 && At(close, out bool strips)) return strips;
            TemplateToken token = ReadToken();
            if (token.Kind == TemplateTokenKind.Symbol) depth += token.Value is "(" or "[" or "{" ? 1 : token.Value is ")" or "]" or "}" ? -1 : 0;
            tokens.Add(token);
        }
    }

    private bool At(string close, out bool strips)
    {
        int sign = source[position] is '-' or '+' ? 1 : 0;
        strips = source[position] == '-';
        if (string.CompareOrdinal(source, position + sign, close, 0, 2) != 0) return false;
        position += sign + 2;
        Add(TemplateTokenKind.Close, close);
        return true;
    }

    private TemplateToken ReadToken()
    {
        int start = position;
        char c = source[position];
        if (c is '\'' or '"') return new TemplateToken(TemplateTokenKind.String, ReadString(c), Line);
        if (char.IsAsciiDigit(c)) return ReadNumber();
        if (char.IsLetter(c) || c == '_')
        {
            while (position < source.Length && (char.IsLetterOrDigit(source[position]) || source[position] == '_')) position++;
            return new TemplateToken(TemplateTokenKind.Name, source[start..position], Line);
        }
        string symbol = Symbols.FirstOrDefault(s => string.CompareOrdinal(source, start, s, 0, s.Length) == 0)
            ?? throw Failure($"the character '{c}' in a tag");
        position += symbol.Length;
        return new TemplateToken(TemplateTokenKind.Symbol, symbol, Line);
    }

    private TemplateToken ReadNumber()
    {
        int start = position;
        while (position < source.Length && (char.IsAsciiDigit(source[position]) || source[position] == '_')) position++;
        bool isFloat = position + 1 < source.Length && source[position] == '.' && char.IsAsciiDigit(source[position + 1]);
        if (isFloat)
        {
            position++;
            while (position < source.Length && char.IsAsciiDigit(source[position])) position++;
        }
        return new TemplateToken(isFloat ? TemplateTokenKind.Float : TemplateTokenKind.Integer, source[start..position].Replace("_", ""), Line);
    }

    private string ReadString(char quote)
    {
        var text = new StringBuilder();
        for (position++; position < source.Length; position++)
        {
            char c = source[position];
            if (c == quote)
            {
                position++;
                return text.ToString();
            }
            if (c == '\\' && position + 1 < source.Length) AppendEscape(text, source[++position]);
            else text.Append(c);
        }
        throw Failure($"a string without its closing {quote}");
    }

    private void AppendEscape(StringBuilder text, char escape)
    {
        int digits = escape switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0)
        {
            if (position + digits >= source.Length
                || !int.TryParse(source.AsSpan(position + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value)
                || value > 0x10FFFF)
                throw Failure($"the escape \\{escape} without {digits} hexadecimal digits of a character");
            text.Append(value <= 0xFFFF ? ((char)value).ToString() : char.ConvertFromUtf32(value));
            position += digits;
            return;
        }
        switch (escape)
        {
            case 'n': text.Append('\n'); break;
            case 't': text.Append('\t'); break;
            case 'r': text.Append('\r'); break;
            case '\\' or '\'' or '"': text.Append(escape); break;
            default: text.Append('\\').Append(escape); break;
        }
    }

    private void Add(TemplateTokenKind kind, string value) => tokens.Add(new TemplateToken(kind, value, Line));

    private ChatTemplateException Failure(string found) => new($"Chat template, line {Line}: {found}.");
}
