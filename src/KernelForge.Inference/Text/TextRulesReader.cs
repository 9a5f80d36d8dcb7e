namespace KernelForge.Inference;

/// <summary>Reads the <c>normalizer</c>, <c>pre_tokenizer</c> and <c>decoder</c> sections of a <c>tokenizer.json</c>.</summary>
internal static class TextRulesReader
{
    private const string SupportedSplits = "the patterns of GPT-2, Llama-3 and Qwen2";

    public static Normalizer? ReadNormalizer(JsonSection section)
    {
        switch (section.Type)
        {
            case "null":
                return null;
            case "NFC":
                return CanonicalComposition.Apply;
            case "Prepend":
                string prefix = section.RequiredText("prepend");
                return text => text.Length == 0 ? text : prefix + text;
            case "Replace":
                string pattern = section["pattern"].Text("String") ?? throw section["pattern"].Malformed("{\"String\": ...}");
                string content = section.RequiredText("content");
                return text => text.Replace(pattern, content, StringComparison.Ordinal);
            case "Sequence":
                Normalizer[] steps = [.. section.Items("normalizers").Select(ReadNormalizer).OfType<Normalizer>()];
                return text => steps.Aggregate(text, (current, step) => step(current));
            default:
                throw section["type"].Unsupported($"'{section.Type}'", "NFC, Prepend, Replace of a string, and a Sequence of them");
        }
    }

    /// <summary>Whether words become bytes of the byte alphabet before they are merged.</summary>
    public static bool IsByteLevel(JsonSection preTokenizer) =>
        preTokenizer.Type == "ByteLevel" || (preTokenizer.Type == "Sequence" && preTokenizer.Items("pretokenizers").Any(IsByteLevel));

    public static PreTokenizer ReadPreTokenizer(JsonSection section) => section.Type switch
    {
        "null" => new PreTokenizer(WordScanners.Whole),
        "ByteLevel" => ReadByteLevel(section),
        "Metaspace" => ReadMetaspace(section),
        "Sequence" => ReadSplitAndByteLevel(section),
        _ => throw section["type"].Unsupported($"'{section.Type}'", "ByteLevel, Metaspace, and a Sequence of Split and ByteLevel"),
    };

    public static TokenDecoder ReadDecoder(JsonSection section, TokenDecoder soFar)
    {
        switch (section.Type)
        {
            case "ByteLevel":
                return soFar with { IsByteLevel = true };
            case "ByteFallback":
                return soFar with { ByteFallback = true };
            case "Fuse":
                return soFar;
            case "Metaspace":
                return soFar with { SpaceMark = ReadMark(section), StripsLeadingSpace = ReadPrefix(section) != PrefixScheme.Never };
            case "Replace" when section["pattern"].Text("String") is { Length: 1 } mark && section.Text("content") == " ":
                return soFar with { SpaceMark = mark[0] };
            case "Strip" when section.Text("content") == " " && section.RequiredNumber("start") <= 1 && section.RequiredNumber("stop") == 0:
                return soFar with { StripsLeadingSpace = section.RequiredNumber("start") == 1 };
            case "Sequence":
                return section.Items("decoders").Aggregate(soFar, (decoder, step) => ReadDecoder(step, decoder));
            default:
                throw section.Unsupported($"of type '{section.Type}' with {section.Element}",
                    "ByteLevel, Metaspace, Replace of one character by a space, ByteFallback, Fuse, Strip of one space at the start, "
                    + "and a Sequence of them");
        }
    }

    private static PreTokenizer ReadByteLevel(JsonSection section) => new(
        section.Flag("use_regex") ?? true ? WordScanners.Gpt2 : WordScanners.Whole,
        Prefix: section.Flag("add_prefix_space") ?? true ? PrefixScheme.Always : PrefixScheme.Never);

    private static PreTokenizer ReadMetaspace(JsonSection section)
    {
        char mark = ReadMark(section);
        return new PreTokenizer(section.Flag("split") ?? true ? WordScanners.BeforeEach(mark) : WordScanners.Whole, mark, ReadPrefix(section));
    }

    private static char ReadMark(JsonSection section) =>
        section.RequiredText("replacement") is { Length: 1 } mark ? mark[0] : throw section["replacement"].Malformed("one character");

    private static PrefixScheme ReadPrefix(JsonSection section) => section.Text("prepend_scheme") switch
    {
        null => section.Flag("add_prefix_space") ?? true ? PrefixScheme.Always : PrefixScheme.Never,
        "always" => PrefixScheme.Always,
        "first" => PrefixScheme.First,
        "never" => PrefixScheme.Never,
        string other => throw section["prepend_scheme"].Unsupported($"'{other}'", "always, first, never"),
    };

    private static PreTokenizer ReadSplitAndByteLevel(JsonSection section)
    {
        JsonSection[] steps = [.. section.Items("pretokenizers")];
        if (steps.Length == 1) return ReadPreTokenizer(steps[0]);
        if (steps.Length != 2 || steps[0].Type != "Split" || steps[1].Type != "ByteLevel")
            throw section.Unsupported($"a Sequence of [{string.Join(", ", steps.Select(step => step.Type))}]", "a Sequence of [Split, ByteLevel]");
        if (steps[1].Flag("use_regex") ?? true) throw steps[1]["use_regex"].Unsupported("true after a Split", "false");
        if (steps[1].Flag("add_prefix_space") ?? true) throw steps[1]["add_prefix_space"].Unsupported("true after a Split", "false");
        return new PreTokenizer(ReadSplit(steps[0]));
    }

    private static WordScanner ReadSplit(JsonSection split)
    {
        // The patterns match every character, so keeping the matches and isolating them come to the same.
        (string? behavior, bool invert) = (split.Text("behavior"), split.Flag("invert") ?? false);
        if ((behavior, invert) is not (("Isolated", false) or ("Removed", true)))
        {
            throw split.Unsupported(
                $"a Split with behavior '{behavior}' and invert {invert}", "behavior 'Isolated' with invert false, 'Removed' with invert true");
        }

        return split["pattern"].Text("Regex") switch
        {
            WordScanners.Gpt2Pattern => WordScanners.Gpt2,
            WordScanners.Llama3Pattern => WordScanners.Llama3,
            WordScanners.Qwen2Pattern => WordScanners.Qwen2,
            null => throw split["pattern"].Unsupported("no Regex", SupportedSplits),
            string other => throw split["pattern"].Unsupported($"the Regex {other}", SupportedSplits),
        };
    }
}
