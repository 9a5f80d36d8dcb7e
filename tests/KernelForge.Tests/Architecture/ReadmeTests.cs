using System.Text;
using System.Text.RegularExpressions;

namespace KernelForge.Tests;

/// <summary>The code of the root README is the code of these tests: it compiles, runs, and is compared text by text.</summary>
public partial class ReadmeTests
{
    [Fact]
    public void Numerics()
    {
        // README begin
        float[,] x = { { 1, 2, 3 }, { 4, 5, 6 } };               // two rows
        float[,] weights = { { 1, 0, 0 }, { 0, 1, 0 } };         // one row of weights per output, as checkpoints store them

        Device device = Device.Default;                          // a GPU where there is one; or Device.OpenCuda(1), Device.Cpu
        using DeviceBuffer a = device.Upload(x, DType.F16), w = device.Upload(weights, DType.F16), y = device.Allocate(DType.F32, 2 * 2);
        device.Operators.MatMul(a.AsMatrix(2, 3), w.AsMatrix(2, 3), y.AsMatrix(2, 2));
        float[,] product = y.AsMatrix(2, 2).ToArray<float>();    // { { 1, 2 }, { 4, 5 } }
        // README end

        Assert.Equal(new float[,] { { 1, 2 }, { 4, 5 } }, product);
    }

    [Fact]
    public async Task Pipeline()
    {
        (string prompt, string expected) = DemoModelTests.Samples()[0];
        CancellationToken cancellationToken = CancellationToken.None;
        var text = new StringBuilder();
        Environment.CurrentDirectory = Repository.Root;

        // README begin
        await using EngineHost host = EngineHost.Load("samples/tickets/model", new EngineOptions { TokenBudget = 512 });

        var sampling = new SamplingOptions { MaxTokens = 64 };
        await foreach (string piece in host.GenerateTextAsync(prompt, sampling, cancellationToken)) text.Append(piece);
        // README end

        Assert.Equal(expected, text.ToString());
    }

    [Fact]
    public void Synchronous()
    {
        (string Prompt, string Expected)[] samples = DemoModelTests.Samples()[..2];
        IEnumerable<string> prompts = samples.Select(sample => sample.Prompt);
        Environment.CurrentDirectory = Repository.Root;

        // README begin
        using Engine engine = Engine.Load("samples/tickets/model");
        IReadOnlyList<Completion> completions = engine.Generate(prompts.Select(prompt => engine.CreateRequest(prompt)));
        // README end

        Assert.Equal(samples.Select(sample => sample.Expected), completions.Select(completion => completion.Text));
    }

    [Theory]
    [InlineData(nameof(Numerics))]
    [InlineData(nameof(Pipeline))]
    [InlineData(nameof(Synchronous))]
    public void Readme_Code_IsTheCodeThatRuns(string name)
    {
        string readme = File.ReadAllText(Path.Combine(Repository.Root, "README.md"));
        string source = File.ReadAllText(Path.Combine(Repository.Root, "tests", "KernelForge.Tests", "Architecture", "ReadmeTests.cs"));

        string shown = Regex.Match(readme, $@"<!-- code: ReadmeTests\.{name} -->\n```csharp\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;
        string run = Regex.Match(source, $@" {name}\(\)\n.*?// README begin\n(.*?) *// README end", RegexOptions.Singleline).Groups[1].Value;

        Assert.NotEmpty(shown);
        Assert.Equal(Normalise(shown), Normalise(run));
    }

    private static string Normalise(string code) => Indentation().Replace(code, "").Trim();

    [GeneratedRegex("^ +", RegexOptions.Multiline)]
    private static partial Regex Indentation();
}
