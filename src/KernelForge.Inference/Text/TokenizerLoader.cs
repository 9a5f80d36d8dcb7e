using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>Reads the tokenizer of a Hugging Face model folder.</summary>
/// <remarks>
/// Supported are BPE models that are byte-level with the word patterns of GPT-2, Llama-3 and Qwen2, or SentencePiece-like with
/// byte fallback; the normalizers NFC, Prepend and Replace; added tokens with all their flags; TemplateProcessing.
/// Anything else throws <see cref="ModelFormatException"/> with the file, what was found and what is supported.
/// </remarks>
public static class TokenizerLoader
{
    private const string TokenizerFile = "tokenizer.json";
    private const string ConfigFile = "tokenizer_config.json";

    /// <summary>
    /// Reads <c>tokenizer.json</c> of <paramref name="folder"/>, and <c>tokenizer_config.json</c> where there is one.
    /// Throws <see cref="ModelFormatException"/> without the first and for a malformed file.
    /// </summary>
    public static BpeTokenizer Load(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string path = Path.Combine(folder, TokenizerFile);
        if (!File.Exists(path))
            throw new ModelFormatException($"The folder '{folder}' has no {TokenizerFile}, which the tokenizer is read from.");

        string configPath = Path.Combine(folder, ConfigFile);
        using JsonDocument tokenizer = Open(path);
        using JsonDocument? config = File.Exists(configPath) ? Open(configPath) : null;
        return Build(new JsonSection(tokenizer.RootElement, path), new JsonSection(config?.RootElement ?? default, configPath));
    }

    /// <summary>Reads a tokenizer from the texts of the two files; the second may be null.</summary>
    public static BpeTokenizer Parse(string tokenizerJson, string? tokenizerConfigJson = null)
    {
        using JsonDocument tokenizer = ParseJson(tokenizerJson, TokenizerFile);
        using JsonDocument? config = tokenizerConfigJson is null ? null : ParseJson(tokenizerConfigJson, ConfigFile);
        return Build(new JsonSection(tokenizer.RootElement, TokenizerFile), new JsonSection(config?.RootElement ?? default, ConfigFile));
    }

    /// <summary>The text of a special token in a <c>tokenizer_config.json</c>: a string, or an object with its content.</summary>
    internal static string? SpecialToken(JsonSection config, string name) =>
        config[name].Element.ValueKind == JsonValueKind.Object ? config[name].Text("content") : config.Text(name);

    internal static JsonDocument Open(string path) => ParseJson(File.ReadAllText(path), path);

    private static JsonDocument ParseJson(string json, string name)
    {
        try
        {
            return JsonDocument.Parse(json);
        }
        catch (JsonException error)
        {
            throw new ModelFormatException($"{name} is not JSON: {error.Message}", error);
        }
    }

    private static BpeTokenizer Build(JsonSection root, JsonSection config)
    {
        BpeModelOptions model = BpeModelReader.Read(root["model"], TextRulesReader.IsByteLevel(root["pre_tokenizer"]));
        AddedToken[] addedTokens = [.. root.Items("added_tokens").Select(ReadAddedToken)];
        TokenDecoder decoder = TextRulesReader.ReadDecoder(root["decoder"], new TokenDecoder(IsByteLevel: false));
        PreTokenizer preTokenizer = TextRulesReader.ReadPreTokenizer(root["pre_tokenizer"]);
        if (preTokenizer.Next == WordScanners.Whole && decoder.SpaceMark is char mark && MergesStayInWords(model, mark))
            preTokenizer = preTokenizer with { Next = WordScanners.BeforeRunsOf(mark) };

        int? begin = SpecialId("bos_token"), end = SpecialId("eos_token");
        (int[] before, int[] after) = PostProcessorReader.Read(root["post_processor"])
            ?? (config.Flag("add_bos_token") == true && begin is int b ? [b] : [], config.Flag("add_eos_token") == true && end is int e ? [e] : []);
        return new BpeTokenizer(new TokenizerParts(
            model, TextRulesReader.ReadNormalizer(root["normalizer"]), preTokenizer, decoder, addedTokens, before, after, begin, end));

        int? SpecialId(string name)
        {
            if (SpecialToken(config, name) is not string content) return null;
            if (addedTokens.FirstOrDefault(token => token.Content == content) is AddedToken added) return added.Id;
            return model.Vocabulary.TryGetValue(content, out int id) ? id
                : throw new ModelFormatException($"{config[name].Where} is '{content}', which {root.Where} does not have.");
        }
    }

    private static AddedToken ReadAddedToken(JsonSection token)
    {
        bool special = token.Flag("special") ?? false;
        return new AddedToken(
            token.RequiredText("content"),
            token.RequiredNumber("id"),
            special,
            token.Flag("lstrip") ?? false,
            token.Flag("rstrip") ?? false,
            token.Flag("single_word") ?? false,
            token.Flag("normalized") ?? !special);
    }

    /// <summary>
    /// Whether no merge joins a character with a space mark after it. A text that is one word may then be cut before its
    /// space marks: the ids are the same, and cutting makes words short and worth remembering.
    /// </summary>
    private static bool MergesStayInWords(BpeModelOptions model, char mark)
    {
        if (model.IgnoresMerges || !model.Vocabulary.ContainsKey(mark.ToString())) return false;
        HashSet<int> merged = [.. model.Merges.Values.Select(rule => rule.Merged)];
        return !model.Vocabulary.Any(token => merged.Contains(token.Value) && token.Key.AsSpan().TrimStart(mark).Contains(mark));
    }
}
