using System.Collections;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>
/// What Python's operators do with the values of a template: null, <see cref="Undefined"/>, bool, long, double, string,
/// List&lt;object?&gt;, Dictionary&lt;string, object?&gt;, <see cref="TemplateNamespace"/> and <see cref="TemplateFunction"/>.
/// </summary>
internal static class TemplateValues
{
    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        string text => text.Length > 0,
        ICollection items => items.Count > 0,
        _ => true,
    };

    public static bool AreEqual(object? left, object? right)
    {
        if (IsNumber(left) && IsNumber(right)) return ToDouble(left) == ToDouble(right);
        return (left, right) switch
        {
            (null, null) or (Undefined, Undefined) => true,
            (string a, string b) => a == b,
            (List<object?> a, List<object?> b) => a.Count == b.Count && a.Zip(b).All(pair => AreEqual(pair.First, pair.Second)),
            (Dictionary<string, object?> a, Dictionary<string, object?> b) =>
                a.Count == b.Count && a.All(entry => b.TryGetValue(entry.Key, out object? other) && AreEqual(entry.Value, other)),
            _ => ReferenceEquals(left, right),
        };
    }

    public static int Compare(object? left, object? right)
    {
        if (IsNumber(left) && IsNumber(right)) return ToDouble(left).CompareTo(ToDouble(right));
        if (left is string a && right is string b) return string.CompareOrdinal(a, b);
        throw new ChatTemplateException($"Chat template: cannot order {Describe(left)} and {Describe(right)}.");
    }

    public static bool Contains(object? container, object? item) => container switch
    {
        Undefined => false,
        string text when item is string part => text.Contains(part, StringComparison.Ordinal),
        Dictionary<string, object?> entries => item is string key && entries.ContainsKey(key),
        List<object?> items => items.Exists(candidate => AreEqual(candidate, item)),
        _ => throw new ChatTemplateException($"Chat template: cannot look for {Describe(item)} in {Describe(container)}."),
    };

    public static object? Arithmetic(string symbol, object? left, object? right)
    {
        if (symbol == "+" && left is string a && right is string b) return a + b;
        if (symbol == "+" && left is List<object?> first && right is List<object?> second) return (List<object?>)[.. first, .. second];
        if (symbol == "*" && left is string text && right is long times) return string.Concat(Enumerable.Repeat(text, (int)Math.Max(0, times)));
        if (!IsNumber(left) || !IsNumber(right))
            throw new ChatTemplateException($"Chat template: cannot compute {Describe(left)} {symbol} {Describe(right)}.");
        if (symbol is "/" or "//" or "%" && ToDouble(right) == 0) throw new ChatTemplateException($"Chat template: {symbol} by zero.");
        if (symbol == "/" || left is double || right is double) return OnDoubles(symbol, ToDouble(left), ToDouble(right));
        return OnIntegers(symbol, ToInteger(left), ToInteger(right));
    }

    /// <summary>Item of a mapping, a list or a string; a missing one is undefined.</summary>
    public static object? Item(object? target, object? key)
    {
        switch (target)
        {
            case Undefined undefined:
                throw new ChatTemplateException($"Chat template: '{undefined.Name}' is undefined, so {Describe(key)} of it cannot be read.");
            case Dictionary<string, object?> entries when key is string name && entries.TryGetValue(name, out object? value):
                return value;
            case TemplateNamespace space when key is string name && space.Members.TryGetValue(name, out object? value):
                return value;
            case List<object?> items when key is long index && Place(index, items.Count) is int place:
                return items[place];
            case string text when key is long index && Place(index, text.Length) is int place:
                return text[place].ToString();
            default:
                return new Undefined(key is string missing ? missing : ToText(key));
        }
    }

    /// <summary>Python's slice of a list or a string.</summary>
    public static object? Slice(object? target, object? start, object? stop, object? step)
    {
        int count = target is string text ? text.Length : target is List<object?> list ? list.Count
            : throw new ChatTemplateException($"Chat template: cannot slice {Describe(target)}.");
        long by = step is null ? 1 : ToInteger(step);
        if (by == 0) throw new ChatTemplateException("Chat template: a slice with step 0.");

        (long lowest, long highest) = by > 0 ? (0L, count) : (-1L, count - 1);
        long from = start is null ? (by > 0 ? lowest : highest) : Bound(ToInteger(start));
        long to = stop is null ? (by > 0 ? highest : lowest) : Bound(ToInteger(stop));
        var places = new List<int>();
        for (long at = from; by > 0 ? at < to : at > to; at += by) places.Add((int)at);
        return target is string whole ? string.Concat(places.Select(at => whole[at])) : places.ConvertAll(at => ((List<object?>)target)[at]);

        long Bound(long index) => Math.Clamp(index < 0 ? index + count : index, lowest, highest);
    }

    public static List<object?> ToList(object? value) => value switch
    {
        Undefined => [],
        List<object?> items => items,
        Dictionary<string, object?> entries => [.. entries.Keys],
        string text => [.. text.EnumerateRunes().Select(rune => rune.ToString())],
        _ => throw new ChatTemplateException($"Chat template: cannot go through {Describe(value)}."),
    };

    public static bool IsNumber(object? value) => value is long or double or bool;

    public static long ToInteger(object? value) => value switch
    {
        long number => number,
        bool flag => flag ? 1 : 0,
        double number => (long)number,
        string text when long.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out long number) => number,
        _ => throw new ChatTemplateException($"Chat template: {Describe(value)} is no integer."),
    };

    public static double ToDouble(object? value) => value is double number ? number : ToInteger(value);

    /// <summary>Text of a value as <c>{{ }}</c> prints it.</summary>
    public static string ToText(object? value) => value switch
    {
        string text => text,
        Undefined => "",
        null => "None",
        bool flag => flag ? "True" : "False",
        long number => number.ToString(CultureInfo.InvariantCulture),
        double number => FloatText(number),
        List<object?> items => $"[{string.Join(", ", items.Select(Quoted))}]",
        Dictionary<string, object?> entries => $"{{{string.Join(", ", entries.Select(entry => $"{Quoted(entry.Key)}: {Quoted(entry.Value)}"))}}}",
        _ => throw new ChatTemplateException($"Chat template: cannot print {Describe(value)}."),
    };

    public static string Describe(object? value) => value switch
    {
        null => "none",
        Undefined undefined => $"the undefined '{undefined.Name}'",
        bool => "a boolean",
        long => "an integer",
        double => "a float",
        string text => $"the string '{(text.Length <= 40 ? text : text[..40] + "...")}'",
        List<object?> => "a list",
        Dictionary<string, object?> => "a mapping",
        TemplateNamespace => "a namespace",
        _ => "a function",
    };

    /// <summary>Takes over a value from outside: numbers, text, lists, dictionaries with string keys and JSON.</summary>
    public static object? FromOutside(object? value) => value switch
    {
        null or bool or long or double or string => value,
        int number => (long)number,
        float number => (double)number,
        JsonElement element => FromJson(element),
        IEnumerable<KeyValuePair<string, object?>> entries =>
            entries.ToDictionary(entry => entry.Key, entry => FromOutside(entry.Value), StringComparer.Ordinal),
        IEnumerable items => items.Cast<object?>().Select(FromOutside).ToList(),
        _ => throw new ArgumentException(
            "A template variable is null, bool, int, long, float, double, string, JsonElement, a list or a dictionary of them, "
            + $"but this is a {value.GetType()}."),
    };

    private static object? FromJson(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject().ToDictionary(entry => entry.Name, entry => FromJson(entry.Value), StringComparer.Ordinal),
        JsonValueKind.Array => element.EnumerateArray().Select(FromJson).ToList(),
        JsonValueKind.String => element.GetString(),
        JsonValueKind.Number => element.TryGetInt64(out long number) ? (object)number : element.GetDouble(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => null,
    };

    private static double OnDoubles(string symbol, double left, double right) => symbol switch
    {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" => left / right,
        "//" => Math.Floor(left / right),
        "%" => left - right * Math.Floor(left / right),
        _ => Math.Pow(left, right),
    };

    private static long OnIntegers(string symbol, long left, long right) => symbol switch
    {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "//" => (long)Math.Floor((double)left / right),
        "%" => ((left % right) + right) % right,
        _ => (long)Math.Pow(left, right),
    };

    private static int? Place(long index, int count)
    {
        long place = index < 0 ? index + count : index;
        return place >= 0 && place < count ? (int)place : null;
    }

    private static string FloatText(double number)
    {
        string text = number.ToString("R", CultureInfo.InvariantCulture);
        return text.AsSpan().IndexOfAny(".EN∞") < 0 ? text + ".0" : text;
    }

    private static string Quoted(object? value)
    {
        if (value is not string text) return ToText(value);
        char quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        var quoted = new StringBuilder().Append(quote);
        foreach (char c in text)
        {
            quoted.Append(c switch { '\n' => "\\n", '\r' => "\\r", '\t' => "\\t", '\\' => "\\\\", _ => c == quote ? "\\" + c : c.ToString() });
        }
        return quoted.Append(quote).ToString();
    }
}
