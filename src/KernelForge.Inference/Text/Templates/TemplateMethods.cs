namespace KernelForge.Inference;

/// <summary>The methods of strings, mappings and lists.</summary>
internal static class TemplateMethods
{
    public const string Supported = "strip, lstrip, rstrip, split, startswith, endswith, replace, upper, lower, title, capitalize, find, "
        + "join, count of a string; items, keys, values, get of a mapping; append of a list";

    public static object? Call(object? target, string name, TemplateArguments arguments) => (target, name) switch
    {
        (TemplateNamespace space, _) when space.Members.GetValueOrDefault(name) is TemplateFunction function => function(arguments),
        (Dictionary<string, object?> entries, _) when entries.GetValueOrDefault(name) is TemplateFunction function => function(arguments),
        (Dictionary<string, object?> entries, "items") => entries.Select(object? (entry) => new List<object?> { entry.Key, entry.Value }).ToList(),
        (Dictionary<string, object?> entries, "keys") => entries.Keys.ToList<object?>(),
        (Dictionary<string, object?> entries, "values") => entries.Values.ToList(),
        (Dictionary<string, object?> entries, "get") =>
            entries.TryGetValue(TemplateValues.ToText(arguments.Get(0, "key")), out object? value) ? value : arguments.Get(1, "default"),
        (List<object?> items, "append") => Append(items, arguments.Get(0, "object")),
        (string text, _) => OnString(text, name, arguments),
        (Undefined undefined, _) => throw new ChatTemplateException(
            $"Chat template: '{undefined.Name}' is undefined, so {name}() of it cannot be called."),
        _ => throw Unknown(target, name),
    };

    public static string Trim(string text, object? characters, bool left, bool right)
    {
        Func<char, bool> strips = characters is string set ? c => set.Contains(c) : char.IsWhiteSpace;
        int start = 0, end = text.Length;
        while (left && start < end && strips(text[start])) start++;
        while (right && end > start && strips(text[end - 1])) end--;
        return text[start..end];
    }

    public static string Replace(string text, TemplateArguments arguments) =>
        text.Replace(TemplateValues.ToText(arguments.Get(0, "old")), TemplateValues.ToText(arguments.Get(1, "new")), StringComparison.Ordinal);

    public static string Capitalize(string text) =>
        text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    public static string Title(string text)
    {
        char[] titled = text.ToCharArray();
        for (int i = 0; i < titled.Length; i++)
        {
            bool starts = i == 0 || !char.IsLetter(titled[i - 1]);
            titled[i] = starts ? char.ToUpperInvariant(titled[i]) : char.ToLowerInvariant(titled[i]);
        }
        return new string(titled);
    }

    private static object? OnString(string text, string name, TemplateArguments arguments) => name switch
    {
        "strip" => Trim(text, arguments.Get(0, "chars"), left: true, right: true),
        "lstrip" => Trim(text, arguments.Get(0, "chars"), left: true, right: false),
        "rstrip" => Trim(text, arguments.Get(0, "chars"), left: false, right: true),
        "split" => Split(text, arguments.Get(0, "sep"), TemplateValues.ToInteger(arguments.Get(1, "maxsplit", -1L))),
        "startswith" => Candidates(arguments).Any(start => text.StartsWith(start, StringComparison.Ordinal)),
        "endswith" => Candidates(arguments).Any(end => text.EndsWith(end, StringComparison.Ordinal)),
        "replace" => Replace(text, arguments),
        "upper" => text.ToUpperInvariant(),
        "lower" => text.ToLowerInvariant(),
        "title" => Title(text),
        "capitalize" => Capitalize(text),
        "find" => (long)text.IndexOf(TemplateValues.ToText(arguments.Get(0, "sub")), StringComparison.Ordinal),
        "join" => string.Join(text, TemplateValues.ToList(arguments.Get(0, "iterable")).Select(TemplateValues.ToText)),
        "count" => (long)text.Split(TemplateValues.ToText(arguments.Get(0, "sub"))).Length - 1,
        _ => throw Unknown(text, name),
    };

    /// <summary>The argument of startswith or endswith: one string, or a list of them.</summary>
    private static IEnumerable<string> Candidates(TemplateArguments arguments) => arguments.Get(0, "prefix") switch
    {
        string one => [one],
        List<object?> several => several.Select(TemplateValues.ToText),
        var other => throw new ChatTemplateException($"Chat template: {TemplateValues.Describe(other)} where a string must be."),
    };

    private static List<object?> Split(string text, object? separator, long most)
    {
        int count = most < 0 ? int.MaxValue : (int)most + 1;
        if (separator is string mark) return [.. text.Split(mark, count)];
        return [.. text.Split((char[]?)null, count, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)];
    }

    private static object? Append(List<object?> items, object? item)
    {
        items.Add(item);
        return null;
    }

    private static ChatTemplateException Unknown(object? target, string name) => new(
        $"Chat template: the method {name}() of {TemplateValues.Describe(target)}; supported methods: {Supported}.");
}
