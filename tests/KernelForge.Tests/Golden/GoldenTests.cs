using System.Text.Json;
using System.Text.Json.Nodes;
using KernelForge.Tests.Reference;

namespace KernelForge.Tests;

/// <summary>
/// Tokens that the double-precision reference chose for every family, stored with the smallest margin on the way. KF_WRITE_GOLDENS=1 writes the file anew; read the
/// difference like code.
/// </summary>
public class GoldenTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Count = 12;

    private static readonly int[] Prompt = [.. Enumerable.Range(0, 21).Select(i => (i * 53 + 11) % 97)];

    public static TheoryData<string> Families => [.. TinyModel.Families];

    public static TheoryData<string, string> NarrowCases
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string device in (string[])[Devices.CpuNames[^1], .. Devices.CudaNames])
                foreach (string family in TinyModel.Families) data.Add(device, family);
            return data;
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void Generate_Greedy_GivesTheGoldenTokens(string family)
    {
        using TinyModel tiny = TinyModel.Create(family, DType.BF16);
        using var run = new ModelRun(tiny, new SchedulerOptions { BlockCount = 16, ContextLength = 128, TokenBudget = 16 });

        Sequence sequence = run.Run([new Request(Prompt, new SamplingOptions { MaxTokens = Count, IgnoreEndToken = true })])[0];

        (int[] tokens, double margin) = Read(family);
        Assert.Equal(tokens, sequence.OutputTokens.ToArray());

        var reference = new ReferenceTransformer(tiny.Config, tiny.Tensor);
        double bound = reference.Run(Prompt)[^1].Magnitudes.Max(reference.Bound);
        Assert.True(margin > 2 * bound, $"the margin {margin:G3} is too small for a rounding bound of {bound:G3}: choose another prompt");
    }

    // F16 rounds every result, so a token is certain only where the margin is more than two logits can be off. Each is asked for after the golden tokens before it.
    [DeviceTheory, MemberData(nameof(NarrowCases))]
    public void Generate_GreedyInF16_GivesTheGoldenTokensThatRoundingCannotChange(string deviceName, string family)
    {
        using TinyModel tiny = TinyModel.Create(family, DType.BF16);
        var reference = new ReferenceTransformer(tiny.Config, tiny.Tensor);
        double bound = reference.Run(Prompt)[^1].Magnitudes.Max(magnitude => reference.Bound(magnitude, DType.F16));
        double[] margins = reference.Generate(Prompt, Count).Margins;
        int[] golden = Read(family).Tokens, certain = [.. Enumerable.Range(0, Count).Where(i => margins[i] > 2 * bound)];
        Assert.True(certain.Length > Count / 2, $"{certain.Length} margins of {Count} are above twice the rounding bound of {bound:G3}: choose another prompt");
        using var run = new ModelRun(
            tiny, new SchedulerOptions { BlockCount = 64, ContextLength = 128, TokenBudget = 64 }, devices.Open(deviceName), DType.F16);

        IReadOnlyList<Sequence> sequences = run.Run(
            certain.Select(i => new Request([.. Prompt, .. golden.Take(i)], new SamplingOptions { MaxTokens = 1, IgnoreEndToken = true })));

        Assert.Equal(certain.Select(i => golden[i]), sequences.Select(sequence => sequence.OutputTokens[0]));
    }

    [Theory, MemberData(nameof(Families))]
    public void Golden_IsWhatTheReferenceChooses(string family)
    {
        using TinyModel tiny = TinyModel.Create(family, DType.BF16);
        (int[] tokens, double[] margins) = new ReferenceTransformer(tiny.Config, tiny.Tensor).Generate(Prompt, Count);
        double margin = margins.Min();
        if (Environment.GetEnvironmentVariable("KF_WRITE_GOLDENS") == "1") Write(family, tokens, margin);

        (int[] golden, double goldenMargin) = Read(family);

        Assert.Equal(golden, tokens);
        Assert.Equal(goldenMargin, margin, 1e-9);
    }

    private static string PathOf(string family) => Path.Combine(Repository.Root, "tests", "KernelForge.Tests", "Golden", family + ".json");

    private static (int[] Tokens, double Margin) Read(string family)
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(PathOf(family)));
        return ([.. golden.RootElement.GetProperty("token_ids").EnumerateArray().Select(id => id.GetInt32())], golden.RootElement.GetProperty("min_margin").GetDouble());
    }

    private static void Write(string family, int[] tokens, double margin) => File.WriteAllText(PathOf(family), new JsonObject
    {
        ["prompt_token_ids"] = new JsonArray([.. Prompt.Select(id => JsonValue.Create(id))]),
        ["token_ids"] = new JsonArray([.. tokens.Select(id => JsonValue.Create(id))]),
        ["min_margin"] = margin,
    }.ToJsonString() + "\n");
}
