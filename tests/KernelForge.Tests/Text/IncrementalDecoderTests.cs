using System.Text;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class IncrementalDecoderTests
{
    private const string EndToken = """[{"id":260,"content":"<end>","special":true}]""";

    // Ids 0 to 255 are bytes, 256 "Ġa", 257 the last two bytes of U+1F600, 258 "ðŁ" its first two, 259 and 260 ends.
    private static readonly BpeTokenizer Tokenizer = TokenizerLoader.Parse(
        TokenizerFiles.ByteLevel(["Ġ a", "ĺ Ģ", "ð Ł", "a b"], addedTokens: EndToken));

    [Fact]
    public void Append_CharacterInPieces_AppearsWithItsLastByte()
    {
        var decoder = new IncrementalDecoder(Tokenizer);

        Assert.Equal("", decoder.Append(258)); // F0 9F
        Assert.Equal("😀", decoder.Append(257)); // 98 80
        Assert.Equal(" a", decoder.Append(256));
        Assert.Equal("", decoder.Append(0xE6));
        Assert.Equal("\uFFFD", decoder.Flush());
        Assert.Equal("", decoder.Flush());
    }

    [Fact]
    public void Append_IncompleteCharacterBeforeAnotherOne_IsReplaced()
    {
        var decoder = new IncrementalDecoder(Tokenizer);

        Assert.Equal("", decoder.Append(0xE6));
        Assert.Equal("\uFFFDa", decoder.Append(97)); // 'a' cannot continue it
        Assert.Equal("\uFFFD", decoder.Append(0x80)); // nothing can make this byte valid
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Append_RandomIds_PiecesJoinToDecode(bool skipSpecialTokens)
    {
        var random = new Random(11);
        int[] likely = [0xF0, 0x9F, 0x98, 0x80, 0xE6, 0xBC, 0xC3, 0xA9, 0xED, 0xA0, 0xFF, 97, 256, 257, 258, 260];
        for (int trial = 0; trial < 2000; trial++)
        {
            int[] ids = [.. Enumerable.Range(0, random.Next(0, 20)).Select(_ => NextId())];
            AssertPiecesJoin(Tokenizer, ids, skipSpecialTokens);
        }

        int NextId() => random.Next(2) == 0 ? likely[random.Next(likely.Length)] : random.Next(261);
    }

    [Fact]
    public void Append_RandomText_GivesWholeCharactersOnly()
    {
        var random = new Random(12);
        for (int trial = 0; trial < 300; trial++)
        {
            string text = BpeTokenizerTests.RandomText(random, 12);
            int[] ids = [.. Encoding.UTF8.GetBytes(text).Select(value => (int)value)];
            List<string> pieces = AssertPiecesJoin(Tokenizer, ids, true);
            Assert.Equal(text.EnumerateRunes().Select(rune => rune.ToString()), pieces.Where(piece => piece.Length > 0));
        }
    }

    [Fact]
    public void Append_SentencePiece_DropsTheFirstSpaceUnlessTheTextContinues()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.Write(
            ["<unk>", "▁", "a", "<0xC3>", "<0xA9>", "▁a"], ["▁ a"], "null", TokenizerFiles.SentencePieceDecoder,
            normalizer: TokenizerFiles.SentencePieceNormalizer, byteFallback: true, unknown: "<unk>"));
        var random = new Random(13);
        for (int trial = 0; trial < 300; trial++)
            AssertPiecesJoin(tokenizer, [.. Enumerable.Range(0, random.Next(0, 8)).Select(_ => random.Next(6))], true);

        Assert.Equal("a", new IncrementalDecoder(tokenizer).Append(5));
        Assert.Equal(" a", new IncrementalDecoder(tokenizer, continuesText: true).Append(5));
    }

    private static List<string> AssertPiecesJoin(BpeTokenizer tokenizer, int[] ids, bool skipSpecialTokens)
    {
        var decoder = new IncrementalDecoder(tokenizer, skipSpecialTokens);
        List<string> pieces = [.. ids.Select(decoder.Append), decoder.Flush()];
        Assert.Equal(tokenizer.Decode(ids, skipSpecialTokens), string.Concat(pieces));
        return pieces;
    }
}
