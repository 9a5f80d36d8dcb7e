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

    private readonly string _source;
    private readonly List<TemplateToken> _tokens = [];
    private int _position;

    private TemplateLexer(string source) => _source = source;

    public static List<TemplateToken> Tokenize(string template)
    {
        string source = template.ReplaceLineEndings("\n");
        var lexer = new TemplateLexer(source.EndsWith('\n') ? source[..^1] : source);
        lexer.Run();
        return lexer._tokens;
    }

    private int Line => _source.AsSpan(0, Math.Min(_position, _source.Length)).Count('\n') + 1;

    private void Run()
    {
        bool stripStart = false, trimLineBreak = false;
        while (true)
        {
            int tag = FindTag(_position);
            AddText(tag, stripStart, trimLineBreak);
            if (tag == _source.Length) break;

            _position = tag;
            char kind = _source[tag + 1];
            if (kind == '#') stripStart = SkipComment();
            else stripStart = ReadTag(kind);
            trimLineBreak = kind != '{' && _source[_position - 3] != '+';
        }
        Add(TemplateTokenKind.End, "");
    }

    private int FindTag(int from)
    {
        for (int at = from; (at = _source.IndexOf('{', at)) >= 0 && at + 1 < _source.Length; at++)
        {
            if (_source[at + 1] is '{' or '%' or '#') return at;
        }
        return _source.Length;
    }

    /// <summary>Adds the text before the tag at <paramref name="end"/>, less what the tags on both sides take away.</summary>
    private void AddText(int end, bool stripStart, bool trimLineBreak)
    {
        int start = _position;
        if (stripStart)
        {
            while (start < end && char.IsWhiteSpace(_source[start])) start++;
        }
        else if (trimLineBreak && start < end && _source[start] == '\n') start++;

        int stop = end;
        if (end < _source.Length)
        {
            char sign = end + 2 < _source.Length ? _source[end + 2] : ' ';
            if (sign == '-')
            {
                while (stop > start && char.IsWhiteSpace(_source[stop - 1])) stop--;
            }
            else if (_source[end + 1] != '{' && sign != '+') stop = IndentationStart(start, end);
        }
        if (stop > start) _tokens.Add(new TemplateToken(TemplateTokenKind.Text, _source[start..stop], Line));
    }

    /// <summary>Where the white space before a tag starts if it is all there is on its line, otherwise the tag itself.</summary>
    private int IndentationStart(int start, int tag)
    {
        int at = tag;
        while (at > start && char.IsWhiteSpace(_source[at - 1]) && _source[at - 1] != '\n') at--;
        return at == 0 || _source[at - 1] == '\n' ? at : tag;
    }

    private bool SkipComment()
    {
        int end = _source.IndexOf("#}", _position + 2, StringComparison.Ordinal);
        if (end < 0) throw Failure("a comment {# without its end #}");
        _position = end + 2;
        return _source[end - 1] == '-';
    }

    /// <summary>Reads the tokens of a tag; returns whether it takes away the white space after it.</summary>
    private bool ReadTag(char kind)
    {
        Add(kind == '{' ? TemplateTokenKind.OpenExpression : TemplateTokenKind.OpenStatement, _source[_position..(_position + 2)]);
        string close = kind == '{' ? "}}" : "%}";
        _position += _position + 2 < _source.Length && _source[_position + 2] is '-' or '+' ? 3 : 2;
        int depth = 0;
        while (true)
        {
            while (_position < _source.Length && char.IsWhiteSpace(_source[_position])) _position++;
            if (_position >= _source.Length) throw Failure($"a tag without its end {close}");
            if (depth == 0 && At(close, out bool strips)) return strips;
            TemplateToken token = ReadToken();
            if (token.Kind == TemplateTokenKind.Symbol) depth += token.Value is "(" or "[" or "{" ? 1 : token.Value is ")" or "]" or "}" ? -1 : 0;
            _tokens.Add(token);
        }
    }

    private bool At(string close, out bool strips)
    {
        int sign = _source[_position] is '-' or '+' ? 1 : 0;
        strips = _source[_position] == '-';
        if (string.CompareOrdinal(_source, _position + sign, close, 0, 2) != 0) return false;
        _position += sign + 2;
        Add(TemplateTokenKind.Close, close);
        return true;
    }

    private TemplateToken ReadToken()
    {
        int start = _position;
        char c = _source[_position];
        if (c is '\'' or '"') return new TemplateToken(TemplateTokenKind.String, ReadString(c), Line);
        if (char.IsAsciiDigit(c)) return ReadNumber();
        if (char.IsLetter(c) || c == '_')
        {
            while (_position < _source.Length && (char.IsLetterOrDigit(_source[_position]) || _source[_position] == '_')) _position++;
            return new TemplateToken(TemplateTokenKind.Name, _source[start.._position], Line);
        }
        string symbol = Symbols.FirstOrDefault(s => string.CompareOrdinal(_source, start, s, 0, s.Length) == 0)
            ?? throw Failure($"the character '{c}' in a tag");
        _position += symbol.Length;
        return new TemplateToken(TemplateTokenKind.Symbol, symbol, Line);
    }

    private TemplateToken ReadNumber()
    {
        int start = _position;
        while (_position < _source.Length && (char.IsAsciiDigit(_source[_position]) || _source[_position] == '_')) _position++;
        bool isFloat = _position + 1 < _source.Length && _source[_position] == '.' && char.IsAsciiDigit(_source[_position + 1]);
        if (isFloat)
        {
            _position++;
            while (_position < _source.Length && char.IsAsciiDigit(_source[_position])) _position++;
        }
        return new TemplateToken(isFloat ? TemplateTokenKind.Float : TemplateTokenKind.Integer, _source[start.._position].Replace("_", ""), Line);
    }

    private string ReadString(char quote)
    {
        var text = new StringBuilder();
        for (_position++; _position < _source.Length; _position++)
        {
            char c = _source[_position];
            if (c == quote)
            {
                _position++;
                return text.ToString();
            }
            if (c == '\\' && _position + 1 < _source.Length) AppendEscape(text, _source[++_position]);
            else text.Append(c);
        }
        throw Failure($"a string without its closing {quote}");
    }

    private void AppendEscape(StringBuilder text, char escape)
    {
        int digits = escape switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0)
        {
            if (_position + digits >= _source.Length
                || !int.TryParse(_source.AsSpan(_position + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value)
                || value > 0x10FFFF)
                throw Failure($"the escape \\{escape} without {digits} hexadecimal digits of a character");
            text.Append(value <= 0xFFFF ? ((char)value).ToString() : char.ConvertFromUtf32(value));
            _position += digits;
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

    private void Add(TemplateTokenKind kind, string value) => _tokens.Add(new TemplateToken(kind, value, Line));

    private ChatTemplateException Failure(string found) => new($"Chat template, line {Line}: {found}.");
}
