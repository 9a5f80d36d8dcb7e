namespace KernelForge.Tests;

public class CommandsTests
{
    [Theory]
    [InlineData("usage: kf run --model DIR")]
    [InlineData("usage: kf run --model DIR", "--help")]
    [InlineData("usage: kf run --model DIR", "help")]
    [InlineData("--token-budget N", "run", "--help")]
    [InlineData("Exit codes:", "run", "-h")]
    [InlineData("kf info --model models/small --context 4096 --batch 64", "info", "--help")]
    [InlineData("--packed small.kfpack --input", "pack", "--help")]
    [InlineData("kf 0.1.0", "--version")]
    public void Run_QuestionAboutItself_IsAnswered(string expected, params string[] arguments)
    {
        using var session = new KfSession();

        Assert.Equal(0, session.Kf(arguments));

        Assert.Contains(expected, session.StandardOutput, StringComparison.Ordinal);
        Assert.Equal("", session.Error);
    }

    [Theory]
    [InlineData("kf: Unknown command 'rum'; the nearest one is run. See kf --help.", "rum")]
    [InlineData("kf: --input is missing.", "run", "--model", "m")]
    [InlineData("kf: Unknown option --modell; the nearest one is --model.", "info", "--modell", "m")]
    [InlineData("kf: --batch must be a whole number of at least 1, not '0'.", "info", "--model", "MODEL", "--batch", "0")]
    [InlineData("kf: The sizes that the options ask for are too large.", "info", "--model", "MODEL", "--batch", "2000000000")]
    public void Run_WrongUse_IsOneSentence(string expected, params string[] arguments)
    {
        using var session = new KfSession();

        int code = session.Kf([.. arguments.Select(argument => argument == "MODEL" ? session.Model : argument)]);

        Assert.Equal(1, code);
        Assert.Equal(expected + Environment.NewLine, session.Error);
        Assert.Equal("", session.StandardOutput);
    }

    [Fact]
    public void Info_WithoutModel_DescribesTheMachine()
    {
        using var session = new KfSession();

        Assert.Equal(0, session.Kf("info"));

        Assert.Contains(Device.Cpu.Name, session.StandardOutput, StringComparison.Ordinal);
        Assert.Contains("instruction sets", session.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public void Info_Model_SaysWhatItIsAndNeeds()
    {
        using var session = new KfSession();

        Assert.Equal(0, session.Kf("info", "--model", session.Model, "--device", "cpu", "--context", "100", "--batch", "8"));

        Assert.Contains("LlamaForCausalLM", session.StandardOutput, StringComparison.Ordinal);
        // 2 layers, keys and values, 2 heads of 16 elements of 4 bytes: 512 bytes a token; 7 blocks of 16 tokens for each of 8 sequences.
        Assert.Contains("KV cache        448 KiB, 512 B for each token", session.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public void Info_AQuantisedModel_SaysHow()
    {
        using var session = new KfSession();
        using TinyModel tiny = TinyModel.CreateQuantized("llama", QuantizationMethod.Gptq, WeightFormat.W4Group32);
        tiny.WriteTokenizer();

        Assert.Equal(0, session.Kf("info", "--model", tiny.Folder, "--device", "cpu"));

        Assert.Contains("quantised         w4g32 (gptq), 14 linear layers", session.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public void Info_ComputeType_CountsIt()
    {
        using var session = new KfSession();

        session.Kf("info", "--model", session.Model, "--device", "cpu", "--context", "100", "--batch", "8", "--compute-type", "bf16");

        // Half of what F32 takes; the weights are stored in F32 and would be rounded too.
        Assert.Contains("computing in BF16 with BF16 keys and values", session.StandardOutput, StringComparison.Ordinal);
        Assert.Contains("KV cache        224 KiB, 256 B for each token", session.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public void Info_DamagedModel_IsOneSentence()
    {
        using var session = new KfSession();
        File.Delete(Path.Combine(session.Model, "tokenizer.json"));

        Assert.Equal(1, session.Kf("info", "--model", session.Model));

        Assert.Contains("tokenizer.json", session.Error, StringComparison.Ordinal);
        Assert.Equal("", session.StandardOutput);
    }
}
