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
    [InlineData("--equal-lengths must be a number of answers, or that and a larger one, such as 8 or 8,24, not '0'.", "--equal-lengths=0")]
    [InlineData("--equal-lengths must be a number of answers, or that and a larger one, such as 8 or 8,24, not '8,8'.", "--equal-lengths=8,8")]
    [InlineData("--equal-lengths must be a number of answers, or that and a larger one, such as 8 or 8,24, not '8,24,3'.", "--equal-lengths=8,24,3")]
    [InlineData("--equal-lengths must be a number of answers, or that and a larger one, such as 8 or 8,24, not '2000000000'.", "--equal-lengths=2000000000")]
    [InlineData("--draft needs a value: --draft DIR|ngram.", "--draft")]
    [InlineData("--draft needs the folder of a draft model, or ngram.", "--draft=")]
    [InlineData("--draft-length must be auto or a whole number from 1 to 16, not '17'.", "--draft=d", "--draft-length=17")]
    [InlineData("--draft-length must be auto or a whole number from 1 to 16, not 'long'.", "--draft=d", "--draft-length=long")]
    [InlineData("--draft-length needs --draft DIR or --draft ngram.", "--draft-length=4")]
    [InlineData("--draft-branches must be a whole number from 1 to 8, not '9'.", "--draft=d", "--draft-branches=9")]
    [InlineData("--draft-branches needs --draft DIR or --draft ngram.", "--draft-branches=2")]
    [InlineData("--draft-staged needs a draft model: --draft DIR, not --draft ngram.", "--draft=ngram", "--draft-staged")]
    [InlineData("--draft-branches needs a draft model: --draft DIR, not --draft ngram.", "--draft=ngram", "--draft-branches=2")]
    [InlineData("--draft-staged needs drafts without branches: --draft-branches 1, not 2.", "--draft=d", "--draft-branches=2", "--draft-staged")]
    [InlineData("--draft-staged and --rejection-sampling exclude each other.", "--draft=d", "--draft-staged", "--rejection-sampling")]
    [InlineData("--draft-staged needs --draft DIR or --draft ngram.", "--draft-staged")]
    [InlineData("--rejection-sampling needs --draft DIR or --draft ngram.", "--rejection-sampling")]
    [InlineData("--rejection-sampling needs drafts without branches: --draft-branches 1, not 2.", "--draft=d", "--draft-branches=2", "--rejection-sampling")]
    [InlineData("--draft-prune needs --draft DIR or --draft ngram.", "--draft-prune=1:4")]
    [InlineData("--draft-prune needs drafts with branches: --draft-branches 2 or more, not 1.", "--draft=d", "--draft-prune=1:4")]
    [InlineData("--draft-prune must be a number of layers and one of tokens, as in 1:4, not '1'.", "--draft=d", "--draft-branches=2", "--draft-prune=1")]
    [InlineData("--draft-prune must be a number of layers and one of tokens, as in 1:4, not '0:4'.", "--draft=d", "--draft-branches=2", "--draft-prune=0:4")]
    [InlineData("--draft-prune must be a number of layers and one of tokens, as in 1:4, not '1:x'.", "--draft=d", "--draft-branches=2", "--draft-prune=1:x")]
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
    public void Parse_NoDraft_DecodesATokenAStep() => Assert.Null(RunOptions.Parse(Files).Engine.Speculation);

    [Fact]
    public void Parse_Drafts_SayWhatGuesses()
    {
        SpeculationOptions Of(params string[] arguments) => RunOptions.Parse([.. Files, .. arguments]).Engine.Speculation!;

        Assert.Equal(new SpeculationOptions(), Of("--draft", "ngram"));
        Assert.Equal(new SpeculationOptions { DraftModel = "d" }, Of("--draft", "d", "--draft-length", "auto"));
        Assert.Equal(new SpeculationOptions { DraftModel = "./ngram", DraftLength = 4, Branches = 3 }, Of("--draft=./ngram", "--draft-length=4", "--draft-branches=3"));
        Assert.Equal(new SpeculationOptions { DraftModel = "d", Branches = 2, EarlyPruning = new(1, 4) }, Of("--draft=d", "--draft-branches=2", "--draft-prune=1:4"));
        Assert.Equal(new SpeculationOptions { DraftModel = "d", Staged = true }, Of("--draft=d", "--draft-staged"));
        Assert.Equal(new SpeculationOptions { DraftLength = 16, RejectionSampling = true }, Of("--draft=ngram", "--draft-length=16", "--rejection-sampling"));
    }

    [Fact]
    public void Parse_EqualLengths_ChoosesTheDecodes()
    {
        IDecodeSelector Of(params string[] arguments) => RunOptions.Parse([.. Files, .. arguments]).Engine.Decodes;

        Assert.IsType<AllDecodes>(Of());
        Assert.IsType<EqualLengthDecodes>(Of("--equal-lengths", "8,9"));
        bool[] chosen = new bool[7];
        Of("--equal-lengths", "2").Choose([1, 2, 3, 4, 5, 3, 7], chosen);
        Assert.Equal([false, false, true, false, false, true, false], chosen);
        Of("--equal-lengths", "2").Choose([1, 2, 3, 4, 5, 6, 3], chosen); // the window is three groups
        Assert.Equal([true, true, false, false, false, false, false], chosen);
    }

    // What the command line refuses the engine would refuse too, and the other way round.
    [Theory]
    [InlineData(1, 1)]
    [InlineData(16, 8)]
    [InlineData(17, 1)]
    [InlineData(1, 9)]
    public void Parse_DraftSizes_HaveTheLimitsOfTheEngine(int length, int branches)
    {
        Exception? parsed = Record.Exception(() => RunOptions.Parse([.. Files, "--draft=d", $"--draft-length={length}", $"--draft-branches={branches}"]));
        Exception? validated = Record.Exception(new SpeculationOptions { DraftModel = "d", DraftLength = length, Branches = branches }.Validate);

        Assert.Equal(validated is null, parsed is null);
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
