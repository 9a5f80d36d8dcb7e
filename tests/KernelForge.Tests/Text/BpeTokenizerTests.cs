using System.Text;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class BpeTokenizerTests
{
    // Ids: byte value; then 256 = "Ġw", 257 = "or", 258 = "lo", 259 = "ll", 260 = "Ġwor", 261 = "hello" without a merge to it.
    private static readonly string[] Merges = ["Ġ w", "o r", "l o", "l l", "Ġw or"];

    [Fact]
    public void Encode_ByteLevel_MergesLowestRankFirst()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges));

        // "hello": "l o" (rank 2) comes before "l l" (rank 3), so h e l lo. " world": Ġw or l d, then Ġwor.
        Assert.Equal([104, 101, 108, 258, 260, 108, 100], tokenizer.Encode("hello world"));
        Assert.Equal("hello world", tokenizer.Decode([104, 101, 108, 258, 260, 108, 100]));
    }

    [Fact]
    public void Encode_MergesAsPairs_IsTheSameAsMergesAsStrings()
    {
        string text = "hello world, lolli or worlor";
        Assert.Equal(
            TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges)).Encode(text),
            TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges, mergesAsPairs: true)).Encode(text));
    }

    [Fact]
    public void Encode_IgnoreMerges_TakesAWholeWordOfTheVocabulary()
    {
        string[] whole = ["hello", "Ġwé".Replace("é", "Ã©")];
        BpeTokenizer ignoring = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges, ignoreMerges: true, moreTokens: whole));
        BpeTokenizer merging = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges, ignoreMerges: false, moreTokens: whole));

        Assert.Equal([261, 262], ignoring.Encode("hello wé"));
        Assert.Equal([104, 101, 108, 258, 256, 0xC3, 0xA9], merging.Encode("hello wé"));
    }

    [Fact]
    public void Encode_AddPrefixSpace_PutsASpaceBeforeTheText()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges, """{"type":"ByteLevel","add_prefix_space":true}"""));

        Assert.Equal([260], tokenizer.Encode("wor"));
        Assert.Equal([260], tokenizer.Encode(" wor"));
    }

    [Fact]
    public void Encode_Nfc_ComposesBeforeSplitting()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(
            Merges, TokenizerFiles.SplitThenBytes(WordScanners.Qwen2Pattern), normalizer: """{"type":"NFC"}"""));

        Assert.Equal([0xC3, 0xA9], tokenizer.Encode("e\u0301")); // U+00E9 in UTF-8
    }

    // The slow definition: find the lowest rank among neighbouring pairs, leftmost of equals, join, repeat.
    [Fact]
    public void Encode_RandomMergesAndText_EqualsTheNaiveDefinition()
    {
        var random = new Random(5);
        for (int trial = 0; trial < 60; trial++)
        {
            string[] merges = RandomMerges(random, "abcd", random.Next(1, 40));
            BpeTokenizer tokenizer = TokenizerLoader.Parse(
                TokenizerFiles.ByteLevel(merges, """{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}"""));
            for (int word = 0; word < 40; word++)
            {
                string text = new([.. Enumerable.Range(0, random.Next(1, 50)).Select(_ => "abcd"[random.Next(4)])]);
                Assert.Equal(NaiveMerge(text, merges), tokenizer.Encode(text).Select(id => Encoding.UTF8.GetString(tokenizer.BytesOf(id))));
            }
        }
    }

    [Fact]
    public void Encode_OneWordOf100000Characters_IsNotQuadratic()
    {
        string[] merges = RandomMerges(new Random(3), "ab", 60);
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(merges));
        var random = new Random(4);
        string text = new([.. Enumerable.Range(0, 100_000).Select(_ => "ab"[random.Next(2)])]);

        var watch = System.Diagnostics.Stopwatch.StartNew();
        int[] ids = tokenizer.Encode(text);

        Assert.Equal(text, tokenizer.Decode(ids));
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(5), $"took {watch.Elapsed}"); // a quadratic loop needs minutes
    }

    [Fact]
    public void EncodeDecode_RandomUnicode_IsTheIdentity()
    {
        var random = new Random(9);
        string[] merges = ["Ð °", "Ġ t", "h e", "Ã ©"];
        foreach (string pattern in (string[])[WordScanners.Gpt2Pattern, WordScanners.Llama3Pattern, WordScanners.Qwen2Pattern])
        {
            BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(merges, TokenizerFiles.SplitThenBytes(pattern)));
            for (int trial = 0; trial < 300; trial++)
            {
                string text = RandomText(random, random.Next(0, 40));
                Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
            }
        }
    }

    [Fact]
    public void Encode_ManyThreadsAtOnce_GiveTheSameIds()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges));
        string text = string.Concat(Enumerable.Range(0, 500).Select(i => $"hello{i % 50} world lol {i} "));
        int[] expected = tokenizer.Encode(text);

        Parallel.For(0, 16, _ => Assert.Equal(expected, tokenizer.Encode(text)));
    }

    [Fact]
    public void Decode_BrokenBytes_GivesReplacementCharacters()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges));

        // A lone continuation byte; then the first three bytes of a four-byte character, which count as one.
        Assert.Equal("\uFFFDa\uFFFD", tokenizer.Decode([0x80, 97, 0xF0, 0x9F, 0x98]));
    }

    [Fact]
    public void Decode_IdsOutsideTheVocabulary_GiveNoTextUnlessNegative()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Parse(TokenizerFiles.ByteLevel(Merges));

        Assert.Equal(261, tokenizer.VocabularySize);
        Assert.Equal("a", tokenizer.Decode([97, 5000]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([-1]));
    }

    internal static string RandomText(Random random, int length)
    {
        string[] pieces = ["a", "Z", " ", "  ", "\n", "é", "ß", "漢", "𠮷", "😀", "👩‍🚀", "e\u0301", "'s", "12", ".", "ї", "\u00a0"];
        return string.Concat(Enumerable.Range(0, length).Select(_ => pieces[random.Next(pieces.Length)]));
    }

    /// <summary>Merges in a random order that only join what exists: letters and the results of earlier merges.</summary>
    internal static string[] RandomMerges(Random random, string letters, int count)
    {
        var tokens = letters.Select(letter => letter.ToString()).ToList();
        var merges = new List<string>();
        for (int i = 0; i < count; i++)
        {
            (string left, string right) = (tokens[random.Next(tokens.Count)], tokens[random.Next(tokens.Count)]);
            if (left.Length + right.Length > 12 || tokens.Contains(left + right)) continue;
            tokens.Add(left + right);
            merges.Add($"{left} {right}");
        }
        return [.. merges];
    }

    private static List<string> NaiveMerge(string text, string[] merges)
    {
        List<string> parts = [.. text.Select(c => c.ToString())];
        while (true)
        {
            int best = -1, bestRank = int.MaxValue;
            for (int i = 0; i + 1 < parts.Count; i++)
            {
                int rank = Array.IndexOf(merges, $"{parts[i]} {parts[i + 1]}");
                if (rank >= 0 && rank < bestRank) (best, bestRank) = (i, rank);
            }
            if (best < 0) return parts;
            parts[best] += parts[best + 1];
            parts.RemoveAt(best + 1);
        }
    }
}
