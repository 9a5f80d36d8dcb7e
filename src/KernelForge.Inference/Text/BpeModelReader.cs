using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>Reads the <c>model</c> section of a <c>tokenizer.json</c>.</summary>
internal static class BpeModelReader
{
    public static BpeModelOptions Read(JsonSection model, bool isByteLevel)
    {
        // Files of early versions name no type; what has merges is BPE.
        if (model.Type != "BPE" && (model.Text("type") is not null || model["merges"].IsMissing))
            throw model["type"].Unsupported($"'{model.Type}'", "'BPE'");
        RequireEmpty(model, "continuing_subword_prefix");
        RequireEmpty(model, "end_of_word_suffix");

        Dictionary<string, int> vocabulary = ReadVocabulary(model["vocab"]);
        return new BpeModelOptions(
            vocabulary,
            ReadMerges(model, vocabulary),
            isByteLevel,
            ByteFallback: model.Flag("byte_fallback") ?? false,
            FusesUnknown: model.Flag("fuse_unk") ?? false,
            IgnoresMerges: model.Flag("ignore_merges") ?? false,
            UnknownId: model.Text("unk_token") is not string unknown ? null
                : vocabulary.TryGetValue(unknown, out int id) ? id
                : throw model["unk_token"].Malformed("a token of the vocabulary"));
    }

    private static void RequireEmpty(JsonSection model, string name)
    {
        if (model.Text(name) is { Length: > 0 } text) throw model[name].Unsupported($"'{text}'", "null");
    }

    private static Dictionary<string, int> ReadVocabulary(JsonSection section)
    {
        if (section.Element.ValueKind != JsonValueKind.Object) throw section.Malformed("an object of tokens and ids");
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (JsonProperty entry in section.Element.EnumerateObject())
        {
            if (!entry.Value.TryGetInt32(out int id) || id < 0)
            {
                throw new ModelFormatException(
                    $"{section.Where}: token '{entry.Name}' has the id {entry.Value.GetRawText()}, but must have one of at least 0.");
            }
            vocabulary[entry.Name] = id;
        }
        return vocabulary.Count > 0 ? vocabulary : throw section.Malformed("an object with at least one token");
    }

    private static Dictionary<TokenPair, MergeRule> ReadMerges(JsonSection model, Dictionary<string, int> vocabulary)
    {
        var merges = new Dictionary<TokenPair, MergeRule>();
        int rank = 0;
        foreach (JsonSection merge in model.Items("merges"))
        {
            (string left, string right) = ReadPair(merge);
            var pair = new TokenPair(IdOf(left), IdOf(right));
            merges[pair] = new MergeRule(rank++, IdOf(left + right));

            int IdOf(string token) => vocabulary.TryGetValue(token, out int id) ? id
                : throw new ModelFormatException($"{merge.Where} needs the token '{token}', which the vocabulary does not have.");
        }
        return merges;
    }

    private static (string Left, string Right) ReadPair(JsonSection merge)
    {
        const string Expected = "\"left right\" or [\"left\", \"right\"]";
        if (merge.Element.ValueKind == JsonValueKind.String)
        {
            string[] sides = merge.Element.GetString()!.Split(' ');
            return sides.Length == 2 ? (sides[0], sides[1]) : throw merge.Malformed(Expected);
        }
        bool isPair = merge.Element.ValueKind == JsonValueKind.Array && merge.Element.GetArrayLength() == 2
            && merge.Element[0].ValueKind == JsonValueKind.String && merge.Element[1].ValueKind == JsonValueKind.String;
        return isPair ? (merge.Element[0].GetString()!, merge.Element[1].GetString()!) : throw merge.Malformed(Expected);
    }
}
