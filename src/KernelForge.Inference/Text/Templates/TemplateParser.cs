using System.Text;

namespace KernelForge.Inference;

/// <summary>Whether a loop body ran to its end.</summary>
internal enum TemplateFlow { Normal, Break, Continue }

/// <summary>A parsed statement: appends what it prints.</summary>
internal delegate TemplateFlow TemplateStatement(TemplateScope scope, StringBuilder output);

/// <summary>Parses a template into statements; expressions are in the other half of the class.</summary>
internal sealed partial class TemplateParser
{
    private const string SupportedStatements = "if, elif, else, for, break, continue, set, macro, generation";

    private readonly List<TemplateToken> _tokens;
    private int _position;

    private TemplateParser(List<TemplateToken> tokens) => _tokens = tokens;

    public static TemplateStatement Parse(string source)
    {
        var parser = new TemplateParser(TemplateLexer.Tokenize(source));
        return parser.ParseBody();
    }

    private TemplateToken Current => _tokens[_position];

    /// <summary>Statements up to the end, or up to a tag that closes or continues the block around them.</summary>
    private TemplateStatement ParseBody(params string[] ends)
    {
        var statements = new List<TemplateStatement>();
        while (Current.Kind != TemplateTokenKind.End)
        {
            if (Current.Kind == TemplateTokenKind.OpenStatement && ends.Contains(_tokens[_position + 1].Value)) break;
            statements.Add(ParseStatement());
        }
        return (scope, output) =>
        {
            foreach (TemplateStatement statement in statements)
            {
                TemplateFlow flow = statement(scope, output);
                if (flow != TemplateFlow.Normal) return flow;
            }
            return TemplateFlow.Normal;
        };
    }

    private TemplateStatement ParseStatement()
    {
        TemplateToken token = Take();
        if (token.Kind == TemplateTokenKind.Text) return Printing(_ => token.Value);
        if (token.Kind == TemplateTokenKind.OpenExpression)
        {
            TemplateExpression value = ParseExpression();
            Close();
            return Printing(value);
        }
        TemplateToken keyword = Current;
        switch (TakeIdentifier())
        {
            case "if": return ParseIf();
            case "for": return ParseFor();
            case "set": return ParseSet();
            case "macro": return ParseMacro();
            case "generation": return ParseBlock("endgeneration");
            case "break": Close(); return (_, _) => TemplateFlow.Break;
            case "continue": Close(); return (_, _) => TemplateFlow.Continue;
            default: throw Failure(keyword, $"the statement {keyword}; supported statements: {SupportedStatements}");
        }
    }

    private static TemplateStatement Printing(TemplateExpression value) => (scope, output) =>
    {
        output.Append(TemplateValues.ToText(value(scope)));
        return TemplateFlow.Normal;
    };

    private TemplateStatement ParseBlock(string end)
    {
        Close();
        TemplateStatement body = ParseBody(end);
        TakeTag(end);
        Close();
        return body;
    }

    private TemplateStatement ParseIf()
    {
        TemplateExpression condition = ParseExpression();
        Close();
        TemplateStatement body = ParseBody("elif", "else", "endif");
        TemplateStatement otherwise = (_, _) => TemplateFlow.Normal;
        switch (TakeTag("elif", "else", "endif"))
        {
            case "elif": otherwise = ParseIf(); break;
            case "else": otherwise = ParseBlock("endif"); break;
            default: Close(); break;
        }
        return (scope, output) => TemplateValues.IsTrue(condition(scope)) ? body(scope, output) : otherwise(scope, output);
    }

    private TemplateStatement ParseFor()
    {
        List<string> names = ParseNames();
        TakeKeyword("in");
        TemplateExpression items = ParseOr(); // not an if expression: the if that may follow selects items
        TemplateExpression? condition = TakeName("if") ? ParseExpression() : null;
        Close();
        TemplateStatement body = ParseBody("else", "endfor");
        TemplateStatement empty = (_, _) => TemplateFlow.Normal;
        if (TakeTag("else", "endfor") == "else") empty = ParseBlock("endfor");
        else Close();
        return (scope, output) =>
        {
            List<object?> selected = TemplateValues.ToList(items(scope));
            if (condition is not null) selected = selected.FindAll(item => TemplateValues.IsTrue(condition(Inner(scope, names, item))));
            if (selected.Count == 0) return empty(scope, output);
            for (int i = 0; i < selected.Count; i++)
            {
                TemplateScope inner = Inner(scope, names, selected[i]);
                inner["loop"] = Loop(selected, i);
                if (body(inner, output) == TemplateFlow.Break) break;
            }
            return TemplateFlow.Normal;
        };
    }

    private static TemplateScope Inner(TemplateScope outer, List<string> names, object? item)
    {
        var scope = new TemplateScope(outer);
        Assign(scope, names, item);
        return scope;
    }

    private static Dictionary<string, object?> Loop(List<object?> items, int index)
    {
        var loop = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["index"] = index + 1L,
            ["index0"] = (long)index,
            ["revindex"] = (long)(items.Count - index),
            ["revindex0"] = items.Count - index - 1L,
            ["first"] = index == 0,
            ["last"] = index == items.Count - 1,
            ["length"] = (long)items.Count,
        };
        if (index > 0) loop["previtem"] = items[index - 1];
        if (index + 1 < items.Count) loop["nextitem"] = items[index + 1];
        return loop;
    }

    private TemplateStatement ParseSet()
    {
        List<string> names = ParseNames();
        string? member = names.Count == 1 && TakeSymbol(".") ? TakeIdentifier() : null;
        TemplateExpression value;
        if (TakeSymbol("="))
        {
            value = ParseExpression();
            Close();
        }
        else value = Captured(ParseBlock("endset"));
        return (scope, _) =>
        {
            if (member is null) Assign(scope, names, value(scope));
            else if (scope[names[0]] is TemplateNamespace space) space.Members[member] = value(scope);
            else
            {
                throw new ChatTemplateException(
                    $"Chat template: only members of a namespace() can be set, but '{names[0]}' is {TemplateValues.Describe(scope[names[0]])}.");
            }
            return TemplateFlow.Normal;
        };
    }

    private TemplateStatement ParseMacro()
    {
        string name = TakeIdentifier();
        Expect("(");
        var parameters = new List<(string Name, TemplateExpression Default)>();
        while (!TakeSymbol(")"))
        {
            string parameter = TakeIdentifier();
            parameters.Add((parameter, TakeSymbol("=") ? ParseExpression() : _ => new Undefined(parameter)));
            if (!Current.Is(TemplateTokenKind.Symbol, ")")) Expect(",");
        }
        TemplateExpression body = Captured(ParseBlock("endmacro"));
        return (scope, _) =>
        {
            scope[name] = (TemplateFunction)(arguments =>
            {
                var inner = new TemplateScope(scope);
                for (int i = 0; i < parameters.Count; i++)
                {
                    (string parameter, TemplateExpression otherwise) = parameters[i];
                    bool given = i < arguments.Positional.Count || arguments.Named.ContainsKey(parameter);
                    inner[parameter] = given ? arguments.Get(i, parameter) : otherwise(inner);
                }
                return body(inner);
            });
            return TemplateFlow.Normal;
        };
    }

    private static TemplateExpression Captured(TemplateStatement body) => scope =>
    {
        var captured = new StringBuilder();
        body(scope, captured);
        return captured.ToString();
    };

    private List<string> ParseNames()
    {
        var names = new List<string> { TakeIdentifier() };
        while (TakeSymbol(",")) names.Add(TakeIdentifier());
        return names;
    }

    private static void Assign(TemplateScope scope, List<string> names, object? value)
    {
        if (names.Count == 1)
        {
            scope[names[0]] = value;
            return;
        }
        List<object?> parts = TemplateValues.ToList(value);
        if (parts.Count != names.Count)
            throw new ChatTemplateException($"Chat template: {parts.Count} values for the names {string.Join(", ", names)}.");
        for (int i = 0; i < parts.Count; i++) scope[names[i]] = parts[i];
    }

    private TemplateToken Take() => Current.Kind == TemplateTokenKind.End ? throw Failure(Current, "an unexpected end") : _tokens[_position++];

    private bool TakeName(string name) => TakeIf(TemplateTokenKind.Name, name);

    private bool TakeSymbol(string symbol) => TakeIf(TemplateTokenKind.Symbol, symbol);

    private bool TakeIf(TemplateTokenKind kind, string value)
    {
        if (!Current.Is(kind, value)) return false;
        _position++;
        return true;
    }

    private string TakeIdentifier() =>
        Current.Kind == TemplateTokenKind.Name ? Take().Value : throw Failure(Current, $"{Current} where a name must be");

    private void TakeKeyword(string name)
    {
        if (!TakeName(name)) throw Failure(Current, $"{Current} where '{name}' must be");
    }

    /// <summary>Takes the beginning of a tag of one of the names and returns which.</summary>
    private string TakeTag(params string[] names)
    {
        if (Current.Kind == TemplateTokenKind.End) throw Failure(Current, $"an unexpected end where {string.Join(" or ", names)} must be");
        _position++;
        return TakeIdentifier();
    }

    private void Expect(string symbol)
    {
        if (!TakeSymbol(symbol)) throw Failure(Current, $"{Current} where '{symbol}' must be");
    }

    private void Close()
    {
        if (Current.Kind != TemplateTokenKind.Close) throw Failure(Current, $"{Current} where the tag must end");
        _position++;
    }

    private ChatTemplateException Failure(TemplateToken token, string found) => new($"Chat template, line {token.Line}: {found}.");
}
