using System.Globalization;

namespace KernelForge.Cli;

/// <summary>
/// Options as given. Every reading method returns null, or nothing, for an option that was not given, and the last of several values unless it
/// returns all.
/// </summary>
internal sealed class ParsedOptions(IReadOnlyDictionary<string, List<string>> values)
{
    public bool Has(string name) => values.ContainsKey(name);

    public IReadOnlyList<string> Texts(string name) => values.TryGetValue(name, out List<string>? list) ? list : [];

    public string? Text(string name) => values.TryGetValue(name, out List<string>? list) ? list[^1] : null;

    public string Required(string name) => Text(name) is { Length: > 0 } text ? text : throw new CommandException($"{name} is missing.");

    public int? Whole(string name, int minimum, int maximum = int.MaxValue)
    {
        if (Text(name) is not string text) return null;
        return int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= minimum && value <= maximum
            ? value
            : throw Wrong(name, maximum == int.MaxValue ? $"a whole number of at least {minimum}" : $"a whole number from {minimum} to {maximum}", text);
    }

    public ulong? Seed(string name)
    {
        if (Text(name) is not string text) return null;
        return ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong value)
            ? value : throw Wrong(name, "a whole number of at least 0", text);
    }

    public float? Number(string name, float minimum, float maximum)
    {
        if (Text(name) is not string text) return null;
        return float.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out float value) && value >= minimum && value <= maximum
            ? value
            : throw Wrong(name, maximum == float.MaxValue ? $"a number of at least {minimum}" : $"a number from {minimum} to {maximum}", text);
    }

    /// <summary>Bytes.</summary>
    public long? Size(string name)
    {
        if (Text(name) is not string text) return null;
        return SizeText.TryParse(text, out long bytes) && bytes > 0 ? bytes : throw Wrong(name, "a size such as 512M or 2G", text);
    }

    public T? Choice<T>(string name, params (string Text, T Value)[] choices) where T : struct
    {
        if (Text(name) is not string text) return null;
        foreach ((string choice, T value) in choices)
            if (choice == text) return value;
        throw Wrong(name, string.Join(" or ", choices.Select(choice => choice.Text)), text);
    }

    private static CommandException Wrong(string name, string expected, string got) => new($"{name} must be {expected}, not '{got}'.");
}
