namespace KernelForge.Inference;

/// <summary>Reads the <c>post_processor</c> section of a <c>tokenizer.json</c>: the tokens around a text.</summary>
internal static class PostProcessorReader
{
    /// <summary>Ids before and after a text, or null when the section has no template.</summary>
    public static (int[] Before, int[] After)? Read(JsonSection section) => section.Type switch
    {
        "null" or "ByteLevel" => null,
        "TemplateProcessing" => ReadTemplate(section),
        "Sequence" => section.Items("processors").Select(Read).LastOrDefault(template => template is not null),
        _ => throw section["type"].Unsupported($"'{section.Type}'", "ByteLevel, TemplateProcessing, and a Sequence of them"),
    };

    private static (int[] Before, int[] After) ReadTemplate(JsonSection section)
    {
        List<int> before = [], after = [];
        bool passedText = false;
        foreach (JsonSection piece in section.Items("single"))
        {
            if (!piece["Sequence"].IsMissing) passedText = true;
            else (passedText ? after : before).AddRange(IdsOf(section["special_tokens"], piece["SpecialToken"].RequiredText("id")));
        }
        return passedText ? ([.. before], [.. after]) : throw section["single"].Malformed("a list with a Sequence");
    }

    private static IEnumerable<int> IdsOf(JsonSection specialTokens, string name)
    {
        if (specialTokens[name].IsMissing) throw specialTokens[name].Malformed("an entry with ids");
        foreach (JsonSection id in specialTokens[name].Items("ids"))
            yield return id.Element.TryGetInt32(out int number) ? number : throw id.Malformed("a number");
    }
}
