using System.Text.Json;

namespace KernelForge.Cli;

/// <summary>A value of a line, which knows its key so that every complaint can name it.</summary>
internal readonly record struct LineValue(string Key, JsonElement Element)
{
    private const int ShownLength = 40;

    public string Text() => Element.ValueKind == JsonValueKind.String ? Element.GetString()! : throw Wrong("a string");

    public bool Flag() => Element.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong("true or false"),
    };

    public int Whole() => Element.ValueKind == JsonValueKind.Number && Element.TryGetInt32(out int value) ? value : throw Wrong("a whole number");

    public float Number() => Element.ValueKind == JsonValueKind.Number && Element.TryGetSingle(out float value) ? value : throw Wrong("a number");

    /// <summary>A whole number of 64 bits; a negative one stands for the same bits.</summary>
    public ulong Seed()
    {
        if (Element.ValueKind != JsonValueKind.Number) throw Wrong("a whole number");
        if (Element.TryGetUInt64(out ulong seed)) return seed;
        return Element.TryGetInt64(out long negative) ? unchecked((ulong)negative) : throw Wrong("a whole number of 64 bits");
    }

    public int[] TokenIds() => [.. Items("a list of token ids").Select(item => item.Whole())];

    public IEnumerable<LineValue> Items(string expected)
    {
        if (Element.ValueKind != JsonValueKind.Array) throw Wrong(expected);
        string key = Key;
        return Element.EnumerateArray().Select((item, index) => new LineValue($"{key}[{index}]", item));
    }

    public IEnumerable<LineValue> Members(string expected)
    {
        if (Element.ValueKind != JsonValueKind.Object) throw Wrong(expected);
        return Element.EnumerateObject().Select(member => new LineValue(member.Name, member.Value));
    }

    /// <summary>A member that is there and not null.</summary>
    public LineValue? Member(string name) =>
        Element.ValueKind == JsonValueKind.Object && Element.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? new LineValue(name, value) : null;

    public LineException Wrong(string expected)
    {
        string shown = Element.GetRawText();
        if (shown.Length > ShownLength) shown = shown[..ShownLength] + "...";
        return new LineException($"{Key} must be {expected}, not {shown}");
    }
}
