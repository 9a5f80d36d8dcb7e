using System.Text.Json.Nodes;

namespace KernelForge.Tests;

/// <summary><c>kf quantize</c> and <c>kf perplexity</c> as a user runs them, the demo model end to end among them.</summary>
public sealed class QuantizeCommandTests : IDisposable
{
    private static readonly string Tickets = Path.Combine(Repository.Root, "samples", "tickets");

    private readonly KfSession _session = new();

    public void Dispose() => _session.Dispose();

    [Theory]
    [InlineData("kf: --output is missing.", "--model", "MODEL")]
    [InlineData("kf: --format: 'w3' is no weight format; expected w4 or w8, then nothing (per channel), g32, g64 or g128, then -asym for zero points.", "--model", "MODEL", "--output", "OUT", "--format", "w3")]
    [InlineData("kf: --method must be rtn or gptq, not 'awq'.", "--model", "MODEL", "--output", "OUT", "--format", "w8", "--method", "awq")]
    [InlineData("kf: --method gptq needs --calibration FILE.", "--model", "MODEL", "--output", "OUT", "--format", "w8", "--method", "gptq")]
    [InlineData("kf: --damping is for --method gptq; rtn does not use it.", "--model", "MODEL", "--output", "OUT", "--format", "w8", "--damping", "0.1")]
    [InlineData("kf: --calibration none.jsonl does not exist.", "--model", "MODEL", "--output", "OUT", "--format", "w8", "--method", "gptq", "--calibration", "none.jsonl")]
    [InlineData("kf: model.layers.0.self_attn.q_proj has 64 inputs, no multiple of the 128 of w4g128; smaller groups or one scale per output (w4, w8) fit.", "--model", "MODEL", "--output", "OUT", "--format", "w4g128")]
    public void Quantize_WrongUse_IsOneSentence(string expected, params string[] arguments)
    {
        string output = _session.PathOf("quantised");

        int code = _session.Kf(["quantize", .. arguments.Select(argument => argument == "MODEL" ? _session.Model : argument == "OUT" ? output : argument)]);

        Assert.Equal((1, expected + Environment.NewLine), (code, _session.Error));
        Assert.False(Directory.Exists(output));
    }

    [Fact]
    public void Quantize_LineThatIsNoText_IsNamed()
    {
        string texts = _session.Write("texts.jsonl", """{"text":"abc"}""", """{"prompt":7}""");

        Assert.Equal(1, _session.Kf("quantize", "--model", _session.Model, "--output", _session.PathOf("q"), "--format", "w8", "--method", "gptq", "--calibration", texts));

        Assert.Equal($"kf: {texts}, line 2: prompt must be a string, not 7." + Environment.NewLine, _session.Error);
    }

    [Fact]
    public void Quantize_Interrupted_SaysSoAndGoesOn()
    {
        string[] arguments = ["quantize", "--model", _session.Model, "--output", _session.PathOf("q"), "--format", "w8", "--device", "cpu"];
        string[] withoutDevice = arguments[..^2];

        Assert.Equal(130, _session.Kf(withoutDevice, "", new CancellationToken(canceled: true)));
        Assert.Equal("kf: Interrupted after 0 layers; the same command goes on." + Environment.NewLine, _session.Error);
        Assert.Equal(0, _session.Kf(withoutDevice));

        Assert.Contains("layers            2" + Environment.NewLine, _session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Perplexity_TextsAndAnswers_CountsTheirTokens()
    {
        string texts = _session.Write("texts.jsonl", """{"text":"abcd"}""", """{"prompt":"ab","text":"cd"}""", """{"id":"x","prompt":"ab"}""", """{"prompt_token_ids":[2,3],"token_ids":[4,5,6]}""");
        string answers = _session.Write("answers.jsonl", """{"id":"x","text":"cde"}""");

        Assert.Equal(0, _session.Kf("perplexity", "--model", _session.Model, "--input", texts, "--score", answers, "--device", "cpu"));

        // The begin token is given, so all of "abcd" counts; then two, three and three answer tokens.
        Assert.Contains("texts             4\ntokens scored     12\n", _session.StandardOutput, StringComparison.Ordinal);
        Assert.Equal("", _session.Error);
    }

    [Fact]
    public void Perplexity_LongText_IsCut()
    {
        string texts = _session.Write("texts.jsonl", $$"""{"text":"{{new string('a', 25)}}"}""");

        Assert.Equal(0, _session.Kf("perplexity", "--model", _session.Model, "--input", texts, "--max-context", "10", "--raw", "--device", "cpu"));

        Assert.Contains("tokens scored     22\n", _session.StandardOutput, StringComparison.Ordinal); // pieces of 10, 10 and 5: 9 + 9 + 4
    }

    [Fact]
    public void Perplexity_NothingToScore_IsOneSentence()
    {
        string texts = _session.Write("texts.jsonl", """{"prompt":"abc"}""");

        Assert.Equal(1, _session.Kf("perplexity", "--model", _session.Model, "--input", texts));

        Assert.Equal($"kf: {texts} has no token to score; expected texts of two tokens or more, or prompts with answers." + Environment.NewLine, _session.Error);
    }

    // The eight tables with the shortest prefixes: three questions of each kind.
    [Theory]
    [InlineData("w8", "rtn")]
    [InlineData("w4g128", "gptq")]
    public void DemoModel_QuantisedAndRun_GivesTheRightAnswers(string format, string method)
    {
        string[] kinds = ["directory-1", "logs-1", "shop-1", "triage-1"], lines = File.ReadAllLines(Path.Combine(Tickets, "prompts.jsonl"));
        string prompts = _session.Write("prompts.jsonl", [.. kinds.SelectMany(kind => lines.Where(line => line.StartsWith($$"""{"id": "{{kind}}-""", StringComparison.Ordinal)).Take(3))]);
        string output = _session.PathOf("quantised"), summary = _session.PathOf("summary.json");
        string[] gptq = method == "gptq" ? ["--calibration", prompts, "--device", "cpu"] : [];

        int quantized = _session.Kf(["quantize", "--model", Path.Combine(Tickets, "model"), "--output", output, "--format", format, "--method", method, .. gptq]);
        Assert.True(quantized == 0, _session.Error);
        int answered = _session.Kf("run", "--model", output, "--input", prompts, "--output", _session.Output, "--score", Path.Combine(Tickets, "expected.jsonl"), "--summary", summary, "--device", "cpu");
        Assert.True(answered == 0, _session.Error);

        JsonNode scores = JsonNode.Parse(File.ReadAllText(summary))!;
        Assert.Equal(12, (int)scores["scored"]!);
        Assert.InRange((int)scores["right"]!, 11, 12);
    }
}
