using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>A part of a JSON file that knows where it is, so that every complaint can say so.</summary>
/// <param name="Element">The part.</param>
/// <param name="Where">File and path of the part, for messages.</param>
internal readonly record struct JsonSection(JsonElement Element, string Where)
{
    public bool IsMissing => Element.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null;

    /// <summary>The <c>type</c> of the section; "null" for a missing section.</summary>
    public string Type => IsMissing ? "null" : Text("type") ?? "(no type)";

    public JsonSection this[string name] => new(
        Element.ValueKind == JsonValueKind.Object && Element.TryGetProperty(name, out JsonElement value) ? value : default, $"{Where}: {name}");

    public IEnumerable<JsonSection> Items(string name)
    {
        JsonSection list = this[name];
        if (list.IsMissing) yield break;
        if (list.Element.ValueKind != JsonValueKind.Array) throw list.Malformed("a list");
        int index = 0;
        foreach (JsonElement item in list.Element.EnumerateArray()) yield return new JsonSection(item, $"{list.Where}[{index++}]");
    }

    public string? Text(string name)
    {
        JsonSection value = this[name];
        if (value.IsMissing) return null;
        return value.Element.ValueKind == JsonValueKind.String ? value.Element.GetString() : throw value.Malformed("a string");
    }

    public string RequiredText(string name) => Text(name) ?? throw this[name].Malformed("a string");

    public bool? Flag(string name)
    {
        JsonSection value = this[name];
        return value.Element.ValueKind switch
        {
            JsonValueKind.Undefined or JsonValueKind.Null => null,
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw value.Malformed("true or false"),
        };
    }

    public int RequiredNumber(string name)
    {
        JsonSection value = this[name];
        return value.Element.ValueKind == JsonValueKind.Number && value.Element.TryGetInt32(out int number) && number >= 0
            ? number : throw value.Malformed("a number of at least 0");
    }

    public ModelFormatException Malformed(string expected) => new($"{Where} is {Shown()}, but must be {expected}.");

    public ModelFormatException Unsupported(string found, string supported) => new($"{Where} is {found}; supported: {supported}.");

    private string Shown()
    {
        if (Element.ValueKind == JsonValueKind.Undefined) return "missing";
        string text = Element.GetRawText();
        return text.Length <= 60 ? text : text[..60] + "...";
    }
}
