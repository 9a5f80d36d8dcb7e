using System.Text.Json;
using KernelForge.Tests.Reference;

namespace KernelForge.Tests;

/// <summary>
/// The demo model against the double-precision reference and against logits and tokens that an independent implementation (PyTorch, F32) recorded in
/// <c>samples/tickets/reference.jsonl</c>.
/// </summary>
public class DemoModelTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly string Folder = Path.Combine(Repository.Root, "samples", "tickets");

    /// <summary>Prompts and the answers they should get.</summary>
    internal static (string Prompt, string Expected)[] Samples()
    {
        Dictionary<string, string> expected = Lines("expected.jsonl").ToDictionary(line => line.GetProperty("id").GetString()!, line => line.GetProperty("text").GetString()!);
        return [.. Lines("prompts.jsonl").Select(line => (line.GetProperty("prompt").GetString()!, expected[line.GetProperty("id").GetString()!]))];
    }

    [Fact]
    public void Encode_PromptsOfTheReference_GivesItsIds()
    {
        BpeTokenizer tokenizer = TokenizerLoader.Load(Path.Combine(Folder, "model"));
        Dictionary<string, string> prompts = Lines("prompts.jsonl").ToDictionary(line => line.GetProperty("id").GetString()!, line => line.GetProperty("prompt").GetString()!);
        JsonElement[] references = Lines("reference.jsonl");

        Assert.True(references.Length >= 20);
        foreach (JsonElement reference in references)
            Assert.Equal(Ints(reference, "prompt_token_ids"), tokenizer.Encode(prompts[reference.GetProperty("id").GetString()!]));
    }

    [Fact]
    public void Generate_PromptsOfTheReference_GivesItsLogitsAndTokens()
    {
        foreach (JsonElement reference in Lines("reference.jsonl"))
        {
            int[] prompt = Ints(reference, "prompt_token_ids"), tokens = Ints(reference, "token_ids");
            double margin = reference.GetProperty("min_margin").GetDouble();
            JsonElement first = reference.GetProperty("logits_first");
            int[] ids = Ints(first, "ids");

            (float[] logits, int[] generated) = Run(prompt, tokens.Length);

            // Two F32 programs differ by the rounding of their sums: below 1e-3 for logits of this size, margins are asked to be ten times that.
            foreach ((int id, JsonElement value) in ids.Zip(first.GetProperty("values").EnumerateArray())) Assert.Equal(value.GetDouble(), logits[id], 1e-3);
            if (margin > 1e-2) Assert.Equal(tokens, generated);
        }
    }

    [Theory]
    [InlineData("model")]
    [InlineData("draft")]
    public void Logits_AgreeWithDoublePrecision(string name)
    {
        string folder = Path.Combine(Folder, name);
        ModelConfig config = ModelConfig.Load(folder);
        using var checkpoint = new Checkpoint(folder);
        var reference = new ReferenceTransformer(config, tensor => Doubles(checkpoint, config, tensor));
        int[] prompt = Ints(Lines("reference.jsonl")[0], "prompt_token_ids")[..100];

        (float[] logits, _) = Run(prompt, 1, name);

        (double[] expected, double[] magnitudes) = reference.Run(prompt)[^1];
        Close.AssertEqual(expected, logits, i => reference.Bound(magnitudes[i]));
    }

    [Fact]
    public void Generate_AllPrompts_AnswersAtLeast95Percent()
    {
        (string Prompt, string Expected)[] samples = Samples();
        using Engine engine = Engine.Load(Path.Combine(Folder, "model"));

        IReadOnlyList<Completion> completions = engine.Generate(samples.Select(sample => engine.CreateRequest(sample.Prompt, new SamplingOptions { MaxTokens = 64 })));

        Assert.True(samples.Length >= 300);
        double accuracy = samples.Zip(completions).Average(pair => pair.First.Expected == pair.Second.Text ? 1.0 : 0.0);
        Assert.InRange(accuracy, 0.95, 1);
        Assert.True(engine.Counters.PromptTokensReused > engine.Counters.PromptTokensComputed, "the shared prefixes were not shared");
    }

    // Two prompts with the shortest shared beginning of each kind: all kernels, chunks, shared blocks and answers of 10 to 43 tokens, in what a minute emulates.
    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Generate_SomePromptsOnCuda_GivesTheTokensOfTheCpu(string deviceName)
    {
        string[] kinds = ["directory-1", "logs-1", "shop-1", "triage-1"];
        string[] prompts = [.. kinds.SelectMany(kind => Lines("prompts.jsonl")
            .Where(line => line.GetProperty("id").GetString()!.StartsWith(kind + "-", StringComparison.Ordinal))
            .Select(line => line.GetProperty("prompt").GetString()!).Take(2))];

        Assert.Equal(8, prompts.Length);
        Assert.Equal(Answers(Device.Cpu, prompts), Answers(devices.Open(deviceName), prompts));
    }

    private static IEnumerable<IReadOnlyList<int>> Answers(Device device, string[] prompts)
    {
        using Engine engine = Engine.Load(Path.Combine(Folder, "model"), new EngineOptions { KvMemoryBytes = 16 << 20 }, device);
        return engine.Generate(prompts.Select(prompt => engine.CreateRequest(prompt, new SamplingOptions { MaxTokens = 64 }))).Select(answer => answer.TokenIds);
    }

    /// <summary>Logits of the first generated position, and the greedy continuation.</summary>
    private static (float[] Logits, int[] Tokens) Run(int[] prompt, int count, string name = "model")
    {
        string folder = Path.Combine(Folder, name);
        using var run = new ModelRun(folder, new SchedulerOptions { BlockCount = 128, ContextLength = 2048, MaxSequences = 1 });
        var request = new Request(prompt, new SamplingOptions { MaxTokens = count, IgnoreEndToken = true });
        int[] tokens = run.Run([request])[0].OutputTokens.ToArray();
        return (run.Logits[(request, 0, prompt.Length)], tokens);
    }

    private static double[] Doubles(Checkpoint checkpoint, ModelConfig config, string name)
    {
        bool isVector = name.Contains("norm", StringComparison.Ordinal);
        (int rows, int columns) = isVector ? (1, config.HiddenSize)
            : name.Contains("embed", StringComparison.Ordinal) ? (config.VocabularySize, config.HiddenSize)
            : name.Contains("down_proj", StringComparison.Ordinal) ? (config.HiddenSize, config.MlpSize)
            : name.Contains("mlp", StringComparison.Ordinal) ? (config.MlpSize, config.HiddenSize)
            : name.Contains("o_proj", StringComparison.Ordinal) ? (config.HiddenSize, config.QueryHeads * config.HeadDim)
            : (name.Contains("q_proj", StringComparison.Ordinal) ? config.QueryHeads * config.HeadDim : config.KvHeads * config.HeadDim, config.HiddenSize);
        DeviceMatrix tensor = checkpoint.Load(Device.Cpu, name, rows, columns);
        return tensor.DType == DType.F16
            ? [.. tensor.ToArray<Half>().Cast<Half>().Select(value => (double)value)]
            : [.. tensor.ToArray<BFloat16>().Cast<BFloat16>().Select(value => (double)(float)value)];
    }

    private static JsonElement[] Lines(string file) =>
        [.. File.ReadLines(Path.Combine(Folder, file)).Select(line => JsonDocument.Parse(line).RootElement)];

    private static int[] Ints(JsonElement parent, string name) => [.. parent.GetProperty(name).EnumerateArray().Select(value => value.GetInt32())];
}
