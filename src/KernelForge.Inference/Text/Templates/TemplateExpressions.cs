using System.Globalization;

namespace KernelForge.Inference;

/// <summary>A parsed expression: gives its value in a scope.</summary>
internal delegate object? TemplateExpression(TemplateScope scope);

/// <summary>Parses expressions, loosest binding first, in the order of Jinja's grammar.</summary>
internal sealed partial class TemplateParser
{
    private TemplateExpression ParseExpression()
    {
        TemplateExpression value = ParseOr();
        while (TakeName("if"))
        {
            (TemplateExpression chosen, TemplateExpression condition) = (value, ParseOr());
            TemplateExpression otherwise = TakeName("else") ? ParseExpression() : _ => new Undefined("the missing else of an if expression");
            value = scope => TemplateValues.IsTrue(condition(scope)) ? chosen(scope) : otherwise(scope);
        }
        return value;
    }

    private TemplateExpression ParseOr()
    {
        TemplateExpression left = ParseAnd();
        while (TakeName("or"))
        {
            (TemplateExpression first, TemplateExpression second) = (left, ParseAnd());
            left = scope => first(scope) is var value && TemplateValues.IsTrue(value) ? value : second(scope);
        }
        return left;
    }

    private TemplateExpression ParseAnd()
    {
        TemplateExpression left = ParseNot();
        while (TakeName("and"))
        {
            (TemplateExpression first, TemplateExpression second) = (left, ParseNot());
            left = scope => first(scope) is var value && !TemplateValues.IsTrue(value) ? value : second(scope);
        }
        return left;
    }

    private TemplateExpression ParseNot()
    {
        if (!TakeName("not")) return ParseComparison();
        TemplateExpression operand = ParseNot();
        return scope => !TemplateValues.IsTrue(operand(scope));
    }

    /// <summary>Comparisons chain: <c>a &lt; b &lt; c</c> holds when both do.</summary>
    private TemplateExpression ParseComparison()
    {
        TemplateExpression first = ParseSum();
        var links = new List<(string Symbol, TemplateExpression Operand)>();
        while (TakeComparison() is string symbol) links.Add((symbol, ParseSum()));
        if (links.Count == 0) return first;
        return scope =>
        {
            object? left = first(scope);
            foreach ((string symbol, TemplateExpression operand) in links)
            {
                object? right = operand(scope);
                if (!Compares(symbol, left, right)) return false;
                left = right;
            }
            return true;
        };
    }

    private string? TakeComparison()
    {
        if (Current.Kind == TemplateTokenKind.Symbol && Current.Value is "==" or "!=" or "<" or "<=" or ">" or ">=") return Take().Value;
        if (TakeName("in")) return "in";
        if (!Current.Is(TemplateTokenKind.Name, "not") || !_tokens[_position + 1].Is(TemplateTokenKind.Name, "in")) return null;
        _position += 2;
        return "not in";
    }

    private static bool Compares(string symbol, object? left, object? right) => symbol switch
    {
        "==" => TemplateValues.AreEqual(left, right),
        "!=" => !TemplateValues.AreEqual(left, right),
        "<" => TemplateValues.Compare(left, right) < 0,
        "<=" => TemplateValues.Compare(left, right) <= 0,
        ">" => TemplateValues.Compare(left, right) > 0,
        ">=" => TemplateValues.Compare(left, right) >= 0,
        "in" => TemplateValues.Contains(right, left),
        _ => !TemplateValues.Contains(right, left),
    };

    private TemplateExpression ParseSum() => ParseArithmetic(ParseConcatenation, "+", "-");

    private TemplateExpression ParseConcatenation()
    {
        TemplateExpression left = ParseProduct();
        while (TakeSymbol("~"))
        {
            (TemplateExpression first, TemplateExpression second) = (left, ParseProduct());
            left = scope => TemplateValues.ToText(first(scope)) + TemplateValues.ToText(second(scope));
        }
        return left;
    }

    private TemplateExpression ParseProduct() => ParseArithmetic(ParsePower, "*", "/", "//", "%");

    private TemplateExpression ParsePower() => ParseArithmetic(() => ParseUnary(withFilters: true), "**");

    private TemplateExpression ParseArithmetic(Func<TemplateExpression> parseOperand, params string[] symbols)
    {
        TemplateExpression left = parseOperand();
        while (Current.Kind == TemplateTokenKind.Symbol && symbols.Contains(Current.Value))
        {
            string symbol = Take().Value;
            (TemplateExpression first, TemplateExpression second) = (left, parseOperand());
            left = scope => TemplateValues.Arithmetic(symbol, first(scope), second(scope));
        }
        return left;
    }

    private TemplateExpression ParseUnary(bool withFilters)
    {
        TemplateExpression value;
        if (TakeSymbol("-"))
        {
            TemplateExpression operand = ParseUnary(withFilters: false);
            value = scope => TemplateValues.Arithmetic("-", 0L, operand(scope));
        }
        else value = TakeSymbol("+") ? ParseUnary(withFilters: false) : ParsePrimary();

        value = ParsePostfix(value);
        return withFilters ? ParseFiltersAndTests(value) : value;
    }

    private TemplateExpression ParsePrimary()
    {
        TemplateToken token = Take();
        switch (token.Kind)
        {
            case TemplateTokenKind.String:
                string text = token.Value;
                while (Current.Kind == TemplateTokenKind.String) text += Take().Value;
                return _ => text;
            case TemplateTokenKind.Integer when long.TryParse(token.Value, CultureInfo.InvariantCulture, out long integer):
                return _ => integer;
            case TemplateTokenKind.Float:
                double number = double.Parse(token.Value, CultureInfo.InvariantCulture);
                return _ => number;
            case TemplateTokenKind.Name:
                return ParseName(token.Value);
            case TemplateTokenKind.Symbol when token.Value == "(":
                return ParseParenthesis();
            case TemplateTokenKind.Symbol when token.Value == "[":
                List<TemplateExpression> items = ParseItems("]");
                return scope => items.ConvertAll(item => item(scope));
            case TemplateTokenKind.Symbol when token.Value == "{":
                return ParseMapping();
            default:
                throw Failure(token, $"{token} where a value must be");
        }
    }

    private static TemplateExpression ParseName(string name) => name switch
    {
        "true" or "True" => _ => true,
        "false" or "False" => _ => false,
        "none" or "None" => _ => null,
        _ => scope => scope[name],
    };

    private TemplateExpression ParseParenthesis()
    {
        if (TakeSymbol(")")) return _ => new List<object?>();
        TemplateExpression first = ParseExpression();
        if (TakeSymbol(")")) return first;
        Expect(",");
        List<TemplateExpression> items = [first, .. ParseItems(")")];
        return scope => items.ConvertAll(item => item(scope));
    }

    private List<TemplateExpression> ParseItems(string close)
    {
        var items = new List<TemplateExpression>();
        while (!TakeSymbol(close))
        {
            items.Add(ParseExpression());
            if (!Current.Is(TemplateTokenKind.Symbol, close)) Expect(",");
        }
        return items;
    }

    private TemplateExpression ParseMapping()
    {
        var entries = new List<(TemplateExpression Key, TemplateExpression Value)>();
        while (!TakeSymbol("}"))
        {
            TemplateExpression key = ParseExpression();
            Expect(":");
            entries.Add((key, ParseExpression()));
            if (!Current.Is(TemplateTokenKind.Symbol, "}")) Expect(",");
        }
        return scope =>
        {
            var mapping = new Dictionary<string, object?>(StringComparer.Ordinal);
            foreach ((TemplateExpression key, TemplateExpression value) in entries) mapping[TemplateValues.ToText(key(scope))] = value(scope);
            return mapping;
        };
    }

    private TemplateExpression ParsePostfix(TemplateExpression value)
    {
        while (true)
        {
            TemplateExpression target = value;
            if (TakeSymbol("."))
            {
                string name = TakeIdentifier();
                if (TakeSymbol("("))
                {
                    Func<TemplateScope, TemplateArguments> arguments = ParseArguments();
                    value = scope => TemplateMethods.Call(target(scope), name, arguments(scope));
                }
                else value = scope => TemplateValues.Item(target(scope), name);
            }
            else if (TakeSymbol("[")) value = ParseSubscript(target);
            else if (TakeSymbol("("))
            {
                Func<TemplateScope, TemplateArguments> arguments = ParseArguments();
                value = scope => Call(target(scope), arguments(scope));
            }
            else return value;
        }
    }

    private static object? Call(object? target, TemplateArguments arguments) => target is TemplateFunction function ? function(arguments)
        : throw new ChatTemplateException(
            $"Chat template: {TemplateValues.Describe(target)} is called; supported functions: {ChatTemplate.Functions}, and macros.");

    private TemplateExpression ParseSubscript(TemplateExpression target)
    {
        var bounds = new TemplateExpression?[3];
        int colons = 0;
        while (!TakeSymbol("]"))
        {
            if (TakeSymbol(":"))
            {
                if (++colons > 2) throw Failure(Current, "a slice with more than two colons");
            }
            else if (bounds[colons] is null) bounds[colons] = ParseExpression();
            else throw Failure(Current, $"{Current} where ']' must be");
        }
        (TemplateExpression? start, TemplateExpression? stop, TemplateExpression? step) = (bounds[0], bounds[1], bounds[2]);
        if (colons > 0) return scope => TemplateValues.Slice(target(scope), start?.Invoke(scope), stop?.Invoke(scope), step?.Invoke(scope));
        return start is not null ? scope => TemplateValues.Item(target(scope), start(scope)) : throw Failure(Current, "empty brackets");
    }

    private Func<TemplateScope, TemplateArguments> ParseArguments()
    {
        var positional = new List<TemplateExpression>();
        var named = new List<(string Name, TemplateExpression Value)>();
        while (!TakeSymbol(")"))
        {
            if (Current.Kind == TemplateTokenKind.Name && _tokens[_position + 1].Is(TemplateTokenKind.Symbol, "="))
            {
                string name = TakeIdentifier();
                Expect("=");
                named.Add((name, ParseExpression()));
            }
            else positional.Add(ParseExpression());
            if (!Current.Is(TemplateTokenKind.Symbol, ")")) Expect(",");
        }
        return scope => new TemplateArguments(
            positional.ConvertAll(argument => argument(scope)),
            named.ToDictionary(argument => argument.Name, argument => argument.Value(scope), StringComparer.Ordinal));
    }

    private TemplateExpression ParseFiltersAndTests(TemplateExpression value)
    {
        while (true)
        {
            if (TakeSymbol("|")) value = ParseFilter(value);
            else if (TakeName("is")) value = ParseTest(value);
            else return value;
        }
    }

    private TemplateExpression ParseFilter(TemplateExpression value)
    {
        TemplateToken token = Current;
        string name = TakeIdentifier();
        if (!TemplateFilters.Has(name)) throw Failure(token, $"the filter '{name}'; supported filters: {TemplateFilters.Supported}");
        Func<TemplateScope, TemplateArguments> arguments = TakeSymbol("(") ? ParseArguments() : _ => new TemplateArguments([], []);
        return scope => TemplateFilters.Apply(name, value(scope), arguments(scope));
    }

    private TemplateExpression ParseTest(TemplateExpression value)
    {
        bool wanted = !TakeName("not");
        TemplateToken token = Current;
        string name = TakeIdentifier().ToLowerInvariant();
        if (!TemplatePredicates.Has(name)) throw Failure(token, $"the test '{name}'; supported tests: {TemplatePredicates.Supported}");
        TemplateExpression? argument = TemplatePredicates.TakesArgument(name) ? ParseUnary(withFilters: false) : null;
        return scope => TemplatePredicates.Holds(name, value(scope), argument?.Invoke(scope)) == wanted;
    }
}
