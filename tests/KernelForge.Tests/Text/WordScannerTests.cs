using KernelForge.Inference;

namespace KernelForge.Tests;

public class WordScannerTests
{
    // Words are separated by "|"; the joined words are the text.
    [Theory]
    [InlineData("Hello| world")]
    [InlineData("it|'s| I|'ll| we|'ve|'d")]
    [InlineData("IT|'|S")] // only small letters contract
    [InlineData("'|quoted|'")]
    [InlineData("'s|am")] // the contraction wins over the word
    [InlineData("a|  | b")] // the last space of a run goes with the word
    [InlineData("a|   ")] // but a run at the end stays whole
    [InlineData("a|\t|b")] // one space that is no ' ' stands alone
    [InlineData("a|\n|\n|b")]
    [InlineData("x| 2024|!!!| ?")]
    [InlineData("3|.|14")]
    [InlineData("a|\u00a0|b")] // a no-break space is \s but not the ' ' that words take along
    [InlineData("𠮷野家| 𝔘𝔫𝔦")] // letters outside the basic plane
    [InlineData("hi| 😀👍🏽")]
    [InlineData("e|\u0301|x")] // a combining mark is no letter
    [InlineData("２３Ⅷ½")] // full-width digits, a Roman numeral and a fraction are numbers
    public void Gpt2_Text_SplitsLikeThePattern(string words) => AssertSplits(words, WordScanners.Gpt2);

    public static TheoryData<string> CommonWords =>
    [
        "Hello| world",
        "it|'s| IT|'S| I|'LL|'Ve", // contractions in any case
        "x|'ſ|y", // the long s folds to s
        "'quoted|'", // any one character that is no letter, number or line break joins the word after it
        "(foo|)(|bar", // a run of two takes no letters along
        "\tfoo|\u00a0bar",
        "a|  | b",
        "a|   ",
        "a|  \n|b", // spaces go with the line breaks that end them
        "a|\n\n|b",
        "a|\r\n  \n|  | b",
        "foo|!!\n\n|bar", // punctuation takes the line breaks that follow
        " !|foo",
        "a| +=\r\n| b",
        "a|\t|+b",
        "a|\u2028b", // a line separator is a space, but not one of \r \n
        "𠮷野家| 𝔘𝔫𝔦",
        "hi| 😀👍🏽",
        "e|\u0301x", // a combining mark is no letter, and joins the letters after it
        "ab|\n",
    ];

    [Theory, MemberData(nameof(CommonWords))]
    public void Llama3_Text_SplitsLikeThePattern(string words) => AssertSplits(words, WordScanners.Llama3);

    [Theory, MemberData(nameof(CommonWords))]
    public void Qwen2_Text_SplitsLikeThePattern(string words) => AssertSplits(words, WordScanners.Qwen2);

    [Theory]
    [InlineData("1")]
    [InlineData("123|456|7")]
    [InlineData("a| |12|.|345|6")]
    [InlineData("𝟘𝟙𝟚|𝟛")] // digits of two UTF-16 units each
    public void Llama3_Numbers_GroupByThree(string words) => AssertSplits(words, WordScanners.Llama3);

    [Theory]
    [InlineData("1|2|3| |4")]
    [InlineData("v|2|.|0")]
    [InlineData("𝟘|𝟙")]
    public void Qwen2_Numbers_StandAlone(string words) => AssertSplits(words, WordScanners.Qwen2);

    // On text within the basic plane .NET regular expressions mean the same as the patterns' own engine.
    [Theory]
    [InlineData(WordScanners.Gpt2Pattern, 0)]
    [InlineData(WordScanners.Llama3Pattern, 1)]
    [InlineData(WordScanners.Qwen2Pattern, 2)]
    public void Scanners_RandomBasicPlaneText_AgreeWithTheRegularExpression(string pattern, int scanner)
    {
        const string Alphabet = "aZsStTlLrRvVdDmMeE''''  \t\n\r\u00a0\u3000.,!(-1٣½éß漢가\u0301_";
        var random = new Random(1);
        WordScanner next = new WordScanner[] { WordScanners.Gpt2, WordScanners.Llama3, WordScanners.Qwen2 }[scanner];
        var regex = new System.Text.RegularExpressions.Regex(pattern, System.Text.RegularExpressions.RegexOptions.CultureInvariant);
        for (int trial = 0; trial < 3000; trial++)
        {
            string text = new([.. Enumerable.Range(0, random.Next(1, 14)).Select(_ => Alphabet[random.Next(Alphabet.Length)])]);
            Assert.Equal(regex.Matches(text).Select(match => match.Value), Split(text, next));
        }
    }

    private static void AssertSplits(string words, WordScanner next) =>
        Assert.Equal(words.Split('|'), Split(words.Replace("|", ""), next));

    private static List<string> Split(string text, WordScanner next)
    {
        var words = new List<string>();
        for (int start = 0, end; start < text.Length; start = end)
        {
            end = next(text, start);
            words.Add(text[start..end]);
        }
        return words;
    }
}
