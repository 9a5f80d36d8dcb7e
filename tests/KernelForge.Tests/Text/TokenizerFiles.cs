using System.Text.Json;
using System.Text.Json.Nodes;
using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Writes small tokenizer.json texts: ids follow the order of the tokens.</summary>
internal static class TokenizerFiles
{
    public const string ByteLevelGpt2 = """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""";

    public const string SentencePieceNormalizer =
        """{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""";

    public const string SentencePieceDecoder = """
        {"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
        {"type":"Strip","content":" ","start":1,"stop":0}]}
        """;

    public static string SplitThenBytes(string pattern) => $$$"""
        {"type":"Sequence","pretokenizers":[
        {"type":"Split","pattern":{"Regex":{{{JsonSerializer.Serialize(pattern)}}}},"behavior":"Isolated","invert":false},
        {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}
        """;

    public static string Metaspace(string scheme, bool split) =>
        $$"""{"type":"Metaspace","replacement":"▁","prepend_scheme":"{{scheme}}","split":{{(split ? "true" : "false")}}}""";

    public static string Template(string before, int id) => $$$$"""
        {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"{{{{before}}}}","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
        "pair":[],"special_tokens":{"{{{{before}}}}":{"id":"{{{{before}}}}","ids":[{{{{id}}}}],"tokens":["{{{{before}}}}"]}}}
        """;

    /// <summary>A byte-level vocabulary: ids 0 to 255 are the bytes by value, then one token for each merge in order.</summary>
    public static string ByteLevel(
        string[] merges, string preTokenizer = ByteLevelGpt2, string addedTokens = "[]", string normalizer = "null", string postProcessor = "null",
        bool ignoreMerges = false, string[]? moreTokens = null, bool mergesAsPairs = false)
    {
        string[] bytes = [.. Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharacterOf((byte)value).ToString())];
        string[] merged = [.. merges.Select(merge => merge.Replace(" ", ""))];
        return Write([.. bytes, .. merged, .. moreTokens ?? []], merges, preTokenizer, """{"type":"ByteLevel"}""",
            addedTokens, normalizer, postProcessor, ignoreMerges, mergesAsPairs: mergesAsPairs);
    }

    public static string Write(
        string[] tokens, string[] merges, string preTokenizer, string decoder, string addedTokens = "[]", string normalizer = "null",
        string postProcessor = "null", bool ignoreMerges = false, bool byteFallback = false, bool fuseUnknown = false, string? unknown = null,
        bool mergesAsPairs = false)
    {
        var vocabulary = new JsonObject();
        for (int id = 0; id < tokens.Length; id++) vocabulary[tokens[id]] = id;
        JsonNode[] pairs = [.. merges.Select(JsonNode (merge) => mergesAsPairs ? Pair(merge.Split(' ')) : JsonValue.Create(merge)!)];
        return $$$"""
            {"version":"1.0","added_tokens":{{{addedTokens}}},"normalizer":{{{normalizer}}},"pre_tokenizer":{{{preTokenizer}}},
            "post_processor":{{{postProcessor}}},"decoder":{{{decoder}}},
            "model":{"type":"BPE","dropout":null,"unk_token":{{{(unknown is null ? "null" : JsonSerializer.Serialize(unknown))}}},
            "continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":{{{Json(fuseUnknown)}}},"byte_fallback":{{{Json(byteFallback)}}},
            "ignore_merges":{{{Json(ignoreMerges)}}},"vocab":{{{vocabulary.ToJsonString()}}},"merges":{{{new JsonArray(pairs).ToJsonString()}}}}}
            """;
    }

    private static string Json(bool value) => value ? "true" : "false";

    private static JsonArray Pair(string[] sides) => new(sides[0], sides[1]);
}
