using System.Text;
using System.Text.Json.Nodes;
using KernelForge.Cli;

namespace KernelForge.Tests;

/// <summary><c>kf profile</c> and <c>kf advise</c> as a user runs them.</summary>
public sealed class ProfileCommandTests : IDisposable
{
    private static readonly string Tickets = Path.Combine(Repository.Root, "samples", "tickets"), Model = Path.Combine(Tickets, "model");

    private readonly string _folder = Directory.CreateTempSubdirectory("kf-profile-").FullName;
    private string _output = "", _error = "";

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Profile_DemoModel_WritesAProfileThatPredictsUnseenSteps()
    {
        string profile = PathOf("measured.json"), prompts = PathOf("prompts.jsonl");
        File.WriteAllLines(prompts, File.ReadLines(Path.Combine(Tickets, "prompts.jsonl")).Take(6));

        Assert.Equal((0, ""), (Kf("profile", "--model", Model, "--device", "cpu", "--threads", "1", "--quick", "--rounds", "1", "--output", profile, "--validate", prompts), _output));
        Assert.Matches(@"fitted to +\d+ steps: median error \d+\.\d %, nine of ten within \d+\.\d %; predicted \d+\.\d\d of the time measured", _error);
        Assert.Matches(@"validated on +\d+ steps: median error", _error);
        DeviceProfile measured = DeviceProfile.Read(profile);
        Assert.Contains("steps of model on", measured.Source, StringComparison.Ordinal);
        Assert.InRange(measured.MatrixFlops, 1e8, 1e13);

        Assert.Equal(0, Kf("profile", "--model", Model, "--device", "cpu", "--threads", "1", "--profile", profile, "--validate", prompts, "--quiet"));
        Assert.StartsWith("validated on", _error, StringComparison.Ordinal);
        Assert.Equal(0, Kf("advise", "--device", profile, "--model", Model, "--prompt-tokens", "300", "--output-tokens", "20"));
        Assert.StartsWith("device            measured: ", _output, StringComparison.Ordinal);
    }

    [Fact]
    public void Measure_SharedContexts_CountsThemOnce()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using Profiler profiler = Profiler.Load(Model, new EngineOptions { KvMemoryBytes = 64 << 20 }, device);

        IReadOnlyList<StepTiming> timings = profiler.Measure([new StepDesign(4, 100), new StepDesign(4, 100, Shared: 96), new StepDesign(1, 50, 0, 2, 30, 20)], rounds: 1);

        Assert.All(timings, timing => Assert.True(timing.Seconds > 0));
        Assert.Equal(new StepShape { Tokens = 4, LogitRows = 4, AttendedPositions = 404, ReadPositions = 404 }, timings[0].Shape);
        Assert.Equal(new StepShape { Tokens = 4, LogitRows = 4, AttendedPositions = 404, ReadPositions = 96 + 4 * 5 }, timings[1].Shape);
        Assert.Equal(new StepShape { Tokens = 61, LogitRows = 3, PromptTokens = 60, AttendedPositions = 51 + 2 * (30 * 20 + 465), ReadPositions = 51 + 2 * 50 }, timings[2].Shape);
        Assert.Equal((1536L, 3_866_624L), (profiler.Model.KvBytesPerToken, profiler.Model.WeightBytes));
    }

    [Fact]
    public void Run_TheSameRequestsTwice_TakesTheSameSteps()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using Profiler profiler = Profiler.Load(Model, new EngineOptions { KvMemoryBytes = 64 << 20, TokenBudget = 64 }, device);
        Request[] requests = [.. Enumerable.Range(0, 5).Select(i => new Request([.. Enumerable.Range(3, 40 + i)], new SamplingOptions { MaxTokens = 6, IgnoreEndToken = true }))];

        IReadOnlyList<StepTiming> once = profiler.Run(requests, runs: 1), twice = profiler.Run(requests, runs: 2);

        Assert.Equal(once.Select(timing => timing.Shape), twice.Select(timing => timing.Shape));
        Assert.True(once.Count >= 6);
        Assert.Throws<OperationCanceledException>(() => profiler.Run(requests, cancellationToken: new CancellationToken(canceled: true)));
        Assert.Throws<OperationCanceledException>(() => profiler.Profile("x", cancellationToken: new CancellationToken(canceled: true)));
    }

    [Theory]
    [InlineData("kf: --model is missing.", "profile")]
    [InlineData("kf: --profile needs --validate PROMPTS.jsonl: there is nothing else to do with it.", "profile", "--model", "MODEL", "--profile", "x.json")]
    [InlineData("kf: --validate none.jsonl does not exist.", "profile", "--model", "MODEL", "--device", "cpu", "--validate", "none.jsonl")]
    [InlineData("kf: One of --trace FILE, --workload NAME and --output-tokens N, with --prompt-tokens N, must be given.", "advise")]
    [InlineData("kf: --prompt-tokens and --output-tokens must have as many numbers, or one of them a single one, not 2 and 3.", "advise", "--prompt-tokens", "1,2", "--output-tokens", "1,2,3")]
    [InlineData("kf: --output-tokens must be whole numbers above 0 with commas between, not '5,x'.", "advise", "--prompt-tokens", "1", "--output-tokens", "5,x")]
    [InlineData("kf: Unknown device 'b200'; expected h100, h200, a100, a10, cpu or a profile of kf profile (FILE.json).", "advise", "--device", "b200", "--prompt-tokens", "1", "--output-tokens", "5")]
    public void WrongUse_IsOneSentence(string expected, params string[] arguments)
    {
        Assert.Equal(1, Kf([.. arguments.Select(argument => argument == "MODEL" ? Model : argument)]));

        Assert.Equal(expected + Environment.NewLine, _error);
    }

    [Fact]
    public void Profile_Interrupted_SaysSo()
    {
        using var error = new StringWriter();

        Assert.Equal(130, Commands.Run(["profile", "--model", Model, "--device", "cpu", "--quick"], new Terminal(Stream.Null, Stream.Null, error), new CancellationToken(canceled: true)));
    }

    [Fact]
    public void Advise_LengthsAndRate_GivesAllThree()
    {
        string[] outputs = [.. Enumerable.Range(1, 60).Select(i => i % 20 == 0 ? "4000" : $"{50 + i}")];

        Assert.Equal(0, Kf("advise", "--device", "h100", "--model", "llama-3-8b", "--prompt-tokens", "500", "--output-tokens", string.Join(',', outputs), "--rate", "3", "--time-between-tokens", "40", "--json"));

        JsonNode advice = JsonNode.Parse(_output)!;
        Assert.Equal(60, (int)advice["requests"]!);
        Assert.True((bool)advice["max_sequences"]!["meets_latency"]!);
        Assert.InRange((double)advice["token_budget"]!["step_seconds"]!, 0.01, 0.04);
        Assert.Equal(0, (int)advice["token_budget"]!["value"]! % 128);
        Assert.InRange((int)advice["max_tokens"]!["value"]!, 51, 4000);
        Assert.Equal(0, Kf("advise", "--workload", "sharegpt", "--device", "a100", "--model", "mistral-7b"));
        Assert.Matches(@"max sequences +\d+ of the \d+ that fit: \d+ tokens/s", _output);
        Assert.DoesNotContain("max tokens", _output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("profile")]
    [InlineData("advise")]
    public void Help_NamesItsOptions(string verb)
    {
        Assert.Equal(0, Kf(verb, "--help"));

        Assert.Contains("--device NAME", _output, StringComparison.Ordinal);
        Assert.Contains("Examples:", _output, StringComparison.Ordinal);
    }

    private string PathOf(string name) => Path.Combine(_folder, name);

    private int Kf(params string[] arguments)
    {
        using var output = new MemoryStream();
        using var error = new StringWriter();
        int code = Commands.Run(arguments, new Terminal(Stream.Null, output, error));
        (_output, _error) = (Encoding.UTF8.GetString(output.ToArray()), error.ToString());
        return code;
    }
}
