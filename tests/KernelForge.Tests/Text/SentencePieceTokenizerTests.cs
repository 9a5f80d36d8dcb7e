using KernelForge.Inference;

namespace KernelForge.Tests;

public class SentencePieceTokenizerTests
{
    // 0 <unk>, 1 <s>, 2 </s>, 3 ▁, 4 a, 5 b, 6 <0xC3>, 7 <0xA9>, 8 ▁a, 9 ab, 10 ▁ab, 11 ▁▁
    private static readonly string[] Tokens = ["<unk>", "<s>", "</s>", "▁", "a", "b", "<0xC3>", "<0xA9>", "▁a", "ab", "▁ab", "▁▁"];
    private static readonly string[] Merges = ["▁ a", "a b", "▁a b", "▁ ▁"];

    private const string AddedTokens = """
        [{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true},{"id":2,"content":"</s>","special":true}]
        """;

    [Fact]
    public void Encode_Llama2_PrependsTheSpaceMarkAndTheTemplate()
    {
        BpeTokenizer tokenizer = Llama2(postProcessor: TokenizerFiles.Template("<s>", 1));

        Assert.Equal([1, 10, 8], tokenizer.Encode("ab a"));
        Assert.Equal([10, 8], tokenizer.Encode("ab a", addSpecialTokens: false));
        Assert.Equal("ab a", tokenizer.Decode([1, 10, 8]));
        Assert.Equal("<s> ab a", tokenizer.Decode([1, 10, 8], skipSpecialTokens: false)); // the space is not at the start here
    }

    [Fact]
    public void Encode_CharacterWithoutToken_FallsBackToBytes()
    {
        BpeTokenizer tokenizer = Llama2();

        Assert.Equal([8, 6, 7], tokenizer.Encode("aé")); // C3 A9
        Assert.Equal("aé", tokenizer.Decode([8, 6, 7]));
        Assert.Equal([8, 0, 5], tokenizer.Encode("aüñb")); // C3 BC and C3 B1: bytes without tokens; two unknowns fuse
    }

    [Fact]
    public void Encode_UnknownsNotFused_GivesOneForEach() =>
        Assert.Equal([8, 0, 0, 5], Llama2(fuseUnknown: false).Encode("aüñb"));

    [Fact]
    public void Encode_TextAfterAnAddedToken_GetsItsOwnMark() =>
        Assert.Equal([8, 2, 10], Llama2().Encode("a</s>ab"));

    [Fact]
    public void Encode_RunsOfSpaces_MergeAcrossWordsAsOneTextDoes()
    {
        // "▁a▁▁▁b": ▁a, then ▁ ▁ ▁ of which the leftmost two merge, then b.
        Assert.Equal([8, 11, 3, 5], Llama2().Encode("a   b"));
    }

    [Theory]
    [InlineData("always", false, new[] { 8, 2, 8 })]
    [InlineData("first", false, new[] { 8, 2, 4 })]
    [InlineData("never", false, new[] { 4, 2, 4 })]
    public void Encode_Metaspace_PrependsByScheme(string scheme, bool split, int[] expected) =>
        Assert.Equal(expected, Metaspace(scheme, split).Encode("a</s>a"));

    [Fact]
    public void Encode_MetaspaceSplit_KeepsSpaceMarksApart()
    {
        string[] spacesFirst = ["▁ ▁", "▁ a"];

        Assert.Equal([11, 4], Metaspace("never", split: false, spacesFirst).Encode("  a"));
        Assert.Equal([3, 8], Metaspace("never", split: true, spacesFirst).Encode("  a"));
    }

    [Fact]
    public void Encode_MergeThatCrossesASpace_StillHappens()
    {
        // "a▁" joins two words, so the text may not be cut between them.
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.Write(
            ["▁", "a", "a▁"], ["a ▁"], "null", TokenizerFiles.SentencePieceDecoder, normalizer: TokenizerFiles.SentencePieceNormalizer));

        Assert.Equal([0, 2, 1], tokenizer.Encode("a a"));
    }

    [Fact]
    public void Encode_RandomText_IsTheSameCutIntoWordsOrNot()
    {
        // The extra merge crosses a space but its left side never occurs, so it only switches the cutting off.
        BpeTokenizer cut = Llama2();
        BpeTokenizer whole = TokenizerLoader.Parse(TokenizerFiles.Write(
            [.. Tokens, "z", "z▁"], [.. Merges, "z ▁"], "null", TokenizerFiles.SentencePieceDecoder, AddedTokens,
            TokenizerFiles.SentencePieceNormalizer, byteFallback: true, fuseUnknown: true, unknown: "<unk>"));
        var random = new Random(2);
        for (int trial = 0; trial < 500; trial++)
        {
            string text = new([.. Enumerable.Range(0, random.Next(0, 25)).Select(_ => "ab  éx"[random.Next(6)])]);
            Assert.Equal(whole.Encode(text), cut.Encode(text));
        }
    }

    [Fact]
    public void Load_NoTemplate_TakesBeginAndEndFromTheConfig()
    {
        const string Config = """{"add_bos_token":true,"add_eos_token":true,"bos_token":{"content":"<s>"},"eos_token":"</s>"}""";
        BpeTokenizer tokenizer = TokenizerLoader.Parse(Llama2Json("null", true), Config);

        Assert.Equal([1, 8, 2], tokenizer.Encode("a"));
        Assert.Equal((1, 2), (tokenizer.BeginOfSequenceId, tokenizer.EndOfSequenceId));
    }

    private static BpeTokenizer Llama2(string postProcessor = "null", bool fuseUnknown = true) =>
        TokenizerLoader.Parse(Llama2Json(postProcessor, fuseUnknown));

    private static string Llama2Json(string postProcessor, bool fuseUnknown) => TokenizerFiles.Write(
        Tokens, Merges, "null", TokenizerFiles.SentencePieceDecoder, AddedTokens, TokenizerFiles.SentencePieceNormalizer,
        postProcessor, byteFallback: true, fuseUnknown: fuseUnknown, unknown: "<unk>");

    private static BpeTokenizer Metaspace(string scheme, bool split, string[]? merges = null) => TokenizerLoader.Parse(TokenizerFiles.Write(
        Tokens, merges ?? Merges, TokenizerFiles.Metaspace(scheme, split), TokenizerFiles.Metaspace(scheme, split), AddedTokens));
}
