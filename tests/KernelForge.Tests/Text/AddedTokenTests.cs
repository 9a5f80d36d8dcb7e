using KernelForge.Inference;

namespace KernelForge.Tests;

public class AddedTokenTests
{
    [Fact]
    public void Encode_TokensThatStartAlike_TakesTheLongest()
    {
        BpeTokenizer tokenizer = WithTokens("""
            [{"id":300,"content":"<a"},{"id":301,"content":"<a>"},{"id":302,"content":"<a>>"},{"id":303,"content":"x<a"}]
            """);

        Assert.Equal([301, 300, 302, 98], tokenizer.Encode("<a><a<a>>b"));
        Assert.Equal([303, 62], tokenizer.Encode("x<a>")); // the leftmost start wins over the longer token
        Assert.Equal([60, 98], tokenizer.Encode("<b"));
    }

    [Fact]
    public void Encode_StripFlags_SwallowWhiteSpace()
    {
        BpeTokenizer tokenizer = WithTokens("""
            [{"id":300,"content":"<l>","lstrip":true},{"id":301,"content":"<r>","rstrip":true},{"id":302,"content":"<n>"}]
            """);

        Assert.Equal([97, 300, 32, 98], tokenizer.Encode("a \n<l> b"));
        Assert.Equal([97, 32, 301, 98], tokenizer.Encode("a <r> \nb"));
        Assert.Equal([97, 32, 302, 32, 98], tokenizer.Encode("a <n> b"));
        Assert.Equal([301, 300], tokenizer.Encode("<r> <l>")); // the first has taken the space already
    }

    [Fact]
    public void Encode_SingleWord_MatchesOnlyBetweenNonLetters()
    {
        BpeTokenizer tokenizer = WithTokens("""[{"id":300,"content":"cat","single_word":true}]""");

        Assert.Equal([300, 33], tokenizer.Encode("cat!"));
        Assert.Equal([32, 300], tokenizer.Encode(" cat"));
        Assert.Equal([99, 97, 116, 115], tokenizer.Encode("cats"));
        Assert.Equal([95, 99, 97, 116], tokenizer.Encode("_cat"));
    }

    [Fact]
    public void Encode_NormalizedToken_IsFoundInTheNormalisedText()
    {
        const string Tokens = """[{"id":300,"content":"é","normalized":true},{"id":301,"content":"ö","normalized":false}]""";
        BpeTokenizer tokenizer = WithTokens(Tokens, normalizer: """{"type":"NFC"}""");

        Assert.Equal([300], tokenizer.Encode("e\u0301"));
        Assert.Equal([0xC3, 0xB6], tokenizer.Encode("o\u0308")); // composes to ö after raw tokens were looked for
        Assert.Equal([301], tokenizer.Encode("ö"));
    }

    [Fact]
    public void Decode_SpecialTokens_AreSkippedOnRequestOnly()
    {
        BpeTokenizer tokenizer = WithTokens("""[{"id":300,"content":"<end>","special":true},{"id":301,"content":"<tool>","special":false}]""");

        Assert.Equal("a<tool>", tokenizer.Decode([97, 301, 300]));
        Assert.Equal("a<tool><end>", tokenizer.Decode([97, 301, 300], skipSpecialTokens: false));
        Assert.True(tokenizer.IsSpecial(300));
        Assert.False(tokenizer.IsSpecial(301));
        Assert.Equal((300, 97, null), (tokenizer.IdOf("<end>"), tokenizer.IdOf("a"), tokenizer.IdOf("<none>")));
        Assert.Equal(302, tokenizer.VocabularySize);
    }

    [Fact]
    public void TryFind_RandomText_AgreesWithTryingEveryTokenAtEveryPlace()
    {
        var random = new Random(6);
        for (int trial = 0; trial < 500; trial++)
        {
            string[] contents = [.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => RandomWord(random, random.Next(1, 5))).Distinct()];
            var finder = new AddedTokenFinder(contents.Select((content, id) => (content, new AddedToken(content, id, IsSpecial: false))));
            string text = RandomWord(random, 20);
            int from = 0;
            while (true)
            {
                (int Start, string Content)? expected = Enumerable.Range(from, text.Length - from)
                    .SelectMany(start => contents.Where(c => text.AsSpan(start).StartsWith(c)).Select(c => ((int Start, string Content)?)(start, c)))
                    .OrderBy(candidate => candidate!.Value.Start).ThenByDescending(candidate => candidate!.Value.Content.Length)
                    .FirstOrDefault();
                bool found = finder.TryFind(text, from, out AddedTokenMatch match);
                Assert.Equal(expected is not null, found);
                if (!found) break;
                Assert.Equal((expected!.Value.Start, expected.Value.Content), (match.Start, contents[match.Id]));
                from = match.End;
            }
        }
    }

    private static string RandomWord(Random random, int length) => new([.. Enumerable.Range(0, length).Select(_ => "abc"[random.Next(3)])]);

    private static BpeTokenizer WithTokens(string addedTokens, string normalizer = "null") =>
        TokenizerLoader.Parse(TokenizerFiles.ByteLevel([], addedTokens: addedTokens, normalizer: normalizer));
}
