using KernelForge.Inference;

namespace KernelForge.Tests;

public class TokenizerLoaderTests
{
    [Fact]
    public void Load_Folder_ReadsBothFiles()
    {
        string folder = Directory.CreateTempSubdirectory("kf-text-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "tokenizer.json"), TokenizerFiles.ByteLevel(["a b"]));
            File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), """{"add_bos_token":true,"bos_token":"ab"}""");

            Assert.Equal([256, 97], TokenizerLoader.Load(folder).Encode("a"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Load_FolderWithoutFile_NamesTheFile()
    {
        var error = Assert.Throws<ModelFormatException>(() => TokenizerLoader.Load(Path.Combine(Path.GetTempPath(), "kf-no-such-folder")));
        Assert.Contains("tokenizer.json", error.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, string, string> Unsupported => new()
    {
        { TokenizerFiles.ByteLevel([]).Replace("\"BPE\"", "\"Unigram\""), "'Unigram'", "'BPE'" },
        { TokenizerFiles.ByteLevel([], """{"type":"Digits"}"""), "'Digits'", "Metaspace" },
        { TokenizerFiles.ByteLevel([], TokenizerFiles.SplitThenBytes(@"\w+")), @"\w+", "Llama-3" },
        { TokenizerFiles.ByteLevel([], TokenizerFiles.SplitThenBytes(WordScanners.Gpt2Pattern).Replace("Isolated", "Contiguous")), "'Contiguous'", "'Isolated'" },
        { TokenizerFiles.ByteLevel([], TokenizerFiles.SplitThenBytes(WordScanners.Gpt2Pattern).Replace("\"use_regex\":false", "\"use_regex\":true")), "use_regex", "false" },
        { TokenizerFiles.ByteLevel([], normalizer: """{"type":"NFKC"}"""), "'NFKC'", "NFC" },
        { TokenizerFiles.ByteLevel([], postProcessor: """{"type":"BertProcessing"}"""), "'BertProcessing'", "TemplateProcessing" },
        { TokenizerFiles.Write(["a"], [], "null", """{"type":"WordPiece"}"""), "'WordPiece'", "ByteFallback" },
        { TokenizerFiles.ByteLevel([]).Replace("\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\""), "'</w>'", "null" },
    };

    [Theory, MemberData(nameof(Unsupported))]
    public void Parse_UnsupportedPart_SaysWhatWasFoundAndWhatIsSupported(string json, string found, string supported)
    {
        var error = Assert.Throws<ModelFormatException>(() => TokenizerLoader.Parse(json));
        Assert.StartsWith("tokenizer.json", error.Message, StringComparison.Ordinal);
        Assert.Contains(found, error.Message, StringComparison.Ordinal);
        Assert.Contains(supported, error.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, string> Malformed => new()
    {
        { "{", "not JSON" },
        { "{}", "model" },
        { TokenizerFiles.Write(["a", "b"], ["a b"], "null", """{"type":"ByteLevel"}"""), "'ab'" }, // the merge needs a token that is missing
        { TokenizerFiles.Write(["a"], ["a b c"], "null", """{"type":"ByteLevel"}"""), "a b c" },
        { TokenizerFiles.ByteLevel([], addedTokens: """[{"content":"x"}]"""), "id is missing" },
        { TokenizerFiles.ByteLevel([], addedTokens: """[{"id":-1,"content":"x"}]"""), "id is -1" },
    };

    [Theory, MemberData(nameof(Malformed))]
    public void Parse_MalformedFile_SaysWhere(string json, string part)
    {
        var error = Assert.Throws<ModelFormatException>(() => TokenizerLoader.Parse(json));
        Assert.Contains(part, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Parse_ConfigNamesAnUnknownToken_Throws()
    {
        var error = Assert.Throws<ModelFormatException>(() => TokenizerLoader.Parse(TokenizerFiles.ByteLevel([]), """{"bos_token":"<none>"}"""));
        Assert.Contains("'<none>'", error.Message, StringComparison.Ordinal);
    }
}
