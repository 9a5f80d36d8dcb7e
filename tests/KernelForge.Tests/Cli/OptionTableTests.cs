using KernelForge.Cli;

namespace KernelForge.Tests;

public class OptionTableTests
{
    private static readonly string[] Files = ["--model", "m", "--input", "i", "--output", "o"];

    [Fact]
    public void Parse_BothForms_GiveTheSameOptions()
    {
        RunOptions spaced = RunOptions.Parse([.. Files, "--max-tokens", "7", "--kv-memory", "512M", "--stop", "a", "--stop=b"]);
        RunOptions joined = RunOptions.Parse(["--model=m", "--input=i", "--output=o", "--max-tokens=7", "--kv-memory=512M", "--stop=a", "--stop", "b"]);

        Assert.Equal(7, spaced.Defaults.MaxTokens);
        Assert.Equal(512L << 20, spaced.Engine.KvMemoryBytes);
        Assert.Equal(["a", "b"], spaced.Defaults.StopStrings);
        Assert.Equal(spaced.Defaults.StopStrings, joined.Defaults.StopStrings);
        Assert.Equal(("m", "i", "o", 7, 512L << 20), (joined.Model, joined.Input, joined.Output, joined.Defaults.MaxTokens, joined.Engine.KvMemoryBytes));
    }

    [Fact]
    public void Parse_OptionGivenTwice_TakesTheLastOne() => Assert.Equal(2, RunOptions.Parse([.. Files, "--max-tokens=1", "--max-tokens=2"]).Defaults.MaxTokens);

    [Theory]
    [InlineData("Unknown option --max-token; the nearest one is --max-tokens.", "--max-token", "3")]
    [InlineData("Unknown option --zzzzzzzzzz.", "--zzzzzzzzzz")]
    [InlineData("Unexpected argument 'x': options start with --.", "x")]
    [InlineData("--max-tokens needs a value: --max-tokens N.", "--max-tokens")]
    [InlineData("--max-tokens needs a value: --max-tokens N.", "--max-tokens", "--quiet")]
    [InlineData("--max-tokens must be a whole number of at least 1, not '0'.", "--max-tokens", "0")]
    [InlineData("--max-tokens must be a whole number of at least 1, not '2.5'.", "--max-tokens", "2.5")]
    [InlineData("--temperature must be a number of at least 0, not '-1'.", "--temperature", "-1")]
    [InlineData("--temperature must be a number of at least 0, not 'NaN'.", "--temperature", "NaN")]
    [InlineData("--top-p must be a number from 0 to 1, not '1.5'.", "--top-p", "1.5")]
    [InlineData("--top-p must be more than 0.", "--top-p", "0")]
    [InlineData("--seed must be a whole number of at least 0, not '-3'.", "--seed", "-3")]
    [InlineData("--kv-memory must be a size such as 512M or 2G, not 'much'.", "--kv-memory", "much")]
    [InlineData("--kv-type must be f32 or bf16 or f16, not 'f8'.", "--kv-type", "f8")]
    [InlineData("--device must be cpu, cuda, cuda:N or auto, not 'tpu'.", "--device", "tpu")]
    [InlineData("--device must be cpu, cuda, cuda:N or auto, not 'cuda:'.", "--device", "cuda:")]
    [InlineData("--device must be cpu, cuda, cuda:N or auto, not 'cuda:-1'.", "--device", "cuda:-1")]
    [InlineData("--compute-type must be f32 or bf16 or f16, not 'f8'.", "--compute-type", "f8")]
    [InlineData("--quiet takes no value, got 'yes'.", "--quiet=yes")]
    [InlineData("--resume and --overwrite exclude each other.", "--resume", "--overwrite")]
    [InlineData("--resume needs an output file; standard output cannot be read back.", "--output=-", "--resume")]
    [InlineData("--input and --output are the same file, i.", "--output=./i")]
    [InlineData("--model is missing.", "--model=")]
    public void Parse_WrongUse_SaysWhatIsExpected(string expected, params string[] arguments)
    {
        var error = Assert.Throws<CommandException>(() => RunOptions.Parse([.. Files, .. arguments]));

        Assert.Equal(expected, error.Message);
    }

    [Fact]
    public void Parse_OutputIsALinkToTheInput_SaysTheyAreTheSameFile()
    {
        string folder = Directory.CreateTempSubdirectory("kf-links-").FullName;
        try
        {
            string input = Path.Combine(folder, "in.jsonl"), link = Path.Combine(folder, "out.jsonl");
            File.WriteAllText(input, "{}");
            File.CreateSymbolicLink(link, input);

            var error = Assert.Throws<CommandException>(() => RunOptions.Parse([.. Files, "--input", input, "--output", link, "--overwrite"]));

            Assert.StartsWith("--input and --output are the same file", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void WriteHelp_ShowsEveryOptionWithItsDefault()
    {
        using var text = new StringWriter();

        RunOptions.Table.WriteHelp(text);

        string help = text.ToString();
        Assert.Contains("--token-budget N", help, StringComparison.Ordinal);
        Assert.Contains("[512]", help, StringComparison.Ordinal);
        Assert.All(help.Split('\n'), line => Assert.InRange(line.TrimEnd('\r').Length, 0, 100));
    }

    [Theory]
    [InlineData("cpu", null)]
    [InlineData("auto", null)]
    [InlineData("cuda", 0)]
    [InlineData("cuda:12", 12)]
    public void RunOptions_Device_NamesAnOrdinal(string name, int? ordinal) =>
        Assert.Equal(ordinal, RunOptions.Parse(["--model", "m", "--input", "i", "--output", "o", "--device", name]).Device.Ordinal);

    [Fact]
    public void RunOptions_DefaultsInTheHelp_AreThoseOfTheEngine()
    {
        var engine = new EngineOptions();
        using var text = new StringWriter();

        RunOptions.Table.WriteHelp(text);

        string help = text.ToString();
        Assert.Contains($"computed in a step [{engine.TokenBudget}]", help, StringComparison.Ordinal);
        Assert.Contains($"at the same time [{engine.MaxSequences}]", help, StringComparison.Ordinal);
        Assert.Contains($"block of keys and values [{engine.BlockSize}]", help, StringComparison.Ordinal);
        Assert.Contains($"as 512M or 2G [{engine.ForModel(2, [], 1 << 20, 1).BlockCount >> 10}G; on CUDA", help, StringComparison.Ordinal);
        Assert.Contains($"most tokens of an answer [{SamplingOptions.Default.MaxTokens}]", help, StringComparison.Ordinal);
    }

    // Every unit, with and without its tail; halves; nothing but a unit; two units; above 64 bits.
    [Theory]
    [InlineData("100", 100L)]
    [InlineData("1k", 1024L)]
    [InlineData("512M", 512L << 20)]
    [InlineData("2G", 2L << 30)]
    [InlineData("2GB", 2L << 30)]
    [InlineData("1.5GiB", 3L << 29)]
    [InlineData("1T", 1L << 40)]
    [InlineData("G", null)]
    [InlineData("", null)]
    [InlineData("1KM", null)]
    [InlineData("-1M", null)]
    [InlineData("9999999999T", null)]
    public void SizeText_TryParse_ReadsPowersOf1024(string text, long? expected) =>
        Assert.Equal(expected, SizeText.TryParse(text, out long bytes) ? bytes : null);

    [Theory]
    [InlineData("run", "run", 0)]
    [InlineData("rum", "run", 1)]
    [InlineData("", "abc", 3)]
    [InlineData("kitten", "sitting", 3)]
    public void Nearest_Distance_CountsChanges(string a, string b, int expected) => Assert.Equal(expected, Nearest.Distance(a, b));
}
