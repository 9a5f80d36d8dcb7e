using System.Globalization;

namespace KernelForge.Inference;

/// <summary>The filters of a template, <c>value | name(arguments)</c>.</summary>
internal static class TemplateFilters
{
    public const string Supported = "abs, capitalize, count, d, default, first, float, int, items, join, last, length, list, lower, map, reject, "
        + "rejectattr, replace, reverse, safe, select, selectattr, string, title, tojson, trim, upper";

    private static readonly HashSet<string> Names = [.. Supported.Split(", ")];

    public static bool Has(string name) => Names.Contains(name);

    public static object? Apply(string name, object? value, TemplateArguments arguments)
    {
        switch (name)
        {
            case "trim": return TemplateMethods.Trim(TemplateValues.ToText(value), arguments.Get(0, "chars"), left: true, right: true);
            case "upper": return TemplateValues.ToText(value).ToUpperInvariant();
            case "lower": return TemplateValues.ToText(value).ToLowerInvariant();
            case "title": return TemplateMethods.Title(TemplateValues.ToText(value));
            case "capitalize": return TemplateMethods.Capitalize(TemplateValues.ToText(value));
            case "string" or "safe": return TemplateValues.ToText(value);
            case "int": return IntegerOr(value, arguments.Get(0, "default", 0L));
            case "float":
                bool isNumber = double.TryParse(TemplateValues.ToText(value), CultureInfo.InvariantCulture, out double number);
                return isNumber ? number : arguments.Get(0, "default", 0.0);
            case "abs": return value is long integer ? Math.Abs(integer) : Math.Abs(TemplateValues.ToDouble(value));
            case "tojson": return TemplateJson.Write(value, arguments.Get(0, "indent") is long indent ? (int)indent : null);
            case "replace":
                return TemplateMethods.Replace(TemplateValues.ToText(value), arguments);
            case "default" or "d":
                bool useDefault = value is Undefined || (TemplateValues.IsTrue(arguments.Get(1, "boolean", false)) && !TemplateValues.IsTrue(value));
                return useDefault ? arguments.Get(0, "default_value", "") : value;
            default: return ApplyToItems(name, value, arguments);
        }
    }

    private static object? ApplyToItems(string name, object? value, TemplateArguments arguments)
    {
        if (name is "length" or "count") return Length(value);
        if (name == "items") return value is Undefined ? new List<object?>() : TemplateMethods.Call(value, "items", arguments);
        List<object?> items = TemplateValues.ToList(value);
        switch (name)
        {
            case "list": return items.ToList();
            case "first": return items.Count > 0 ? items[0] : new Undefined("first of nothing");
            case "last": return items.Count > 0 ? items[^1] : new Undefined("last of nothing");
            case "reverse": return value is string ? string.Concat(Enumerable.Reverse(items)) : Enumerable.Reverse(items).ToList();
            case "join":
                object? attribute = arguments.Get(1, "attribute");
                return string.Join(TemplateValues.ToText(arguments.Get(0, "d", "")),
                    items.Select(item => TemplateValues.ToText(attribute is null ? item : TemplateValues.Item(item, attribute))));
            case "map":
                if (arguments.Named.TryGetValue("attribute", out object? member)) return items.ConvertAll(item => TemplateValues.Item(item, member));
                string filter = TemplateValues.ToText(arguments.Get(0, "filter"));
                if (!Has(filter)) throw new ChatTemplateException($"Chat template: map names the filter '{filter}'; supported filters: {Supported}.");
                return items.ConvertAll(item => Apply(filter, item, Rest(arguments, 1)));
            default: // select, reject, selectattr, rejectattr
                bool byAttribute = name.EndsWith("attr", StringComparison.Ordinal), wanted = name.StartsWith("select", StringComparison.Ordinal);
                TemplateArguments test = Rest(arguments, byAttribute ? 1 : 0);
                return items.FindAll(item => wanted == Passes(byAttribute ? TemplateValues.Item(item, arguments.Get(0, "attribute")) : item, test));
        }
    }

    private static bool Passes(object? value, TemplateArguments test)
    {
        if (test.Positional.Count == 0) return TemplateValues.IsTrue(value);
        return TemplatePredicates.Holds(TemplateValues.ToText(test.Positional[0]), value, test.Positional.ElementAtOrDefault(1));
    }

    private static TemplateArguments Rest(TemplateArguments arguments, int from) => new([.. arguments.Positional.Skip(from)], arguments.Named);

    private static long Length(object? value) => value switch
    {
        Undefined => 0,
        string text => text.EnumerateRunes().Count(),
        List<object?> items => items.Count,
        Dictionary<string, object?> entries => entries.Count,
        _ => throw new ChatTemplateException($"Chat template: {TemplateValues.Describe(value)} has no length."),
    };

    private static object? IntegerOr(object? value, object? otherwise) => value switch
    {
        bool or long or double => TemplateValues.ToInteger(value),
        string text when long.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out long number) => number,
        _ => otherwise,
    };
}
