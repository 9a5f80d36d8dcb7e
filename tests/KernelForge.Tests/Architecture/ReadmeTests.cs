using System.Text;
using System.Text.RegularExpressions;
using CommunityToolkit.HighPerformance;

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
    public void Quantised()
    {
        float[,] x = Weights.Dense(1, 2, 256), matrix = Weights.Dense(2, 24, 256);

        // README begin
        using W4Weights packed = W4Packer.Pack(Device.Default, matrix, WeightFormat.W4Group128); // [outputs, inputs] of floats
        float[,] product = packed.Multiply(x);                                                   // from host to host
        // many products: device.Operators.MatMulW4(x, packed, y, bias, residual)
        // README end

        for (int row = 0; row < 2; row++)
            for (int column = 0; column < 24; column++)
                Assert.Equal(Enumerable.Range(0, 256).Sum(k => (double)x[row, k] * matrix[column, k]), product[row, column], 2.0); // 256 weights of half a step
    }

    [Fact]
    public void SharedPrefix()
    {
        Device device = Device.Cpu;
        using DeviceBuffer cache = Random(1, 2 * 100, 2 * 64), queryBuffer = Random(2, 32, 8 * 64);
        using DeviceBuffer outs = device.Allocate(DType.F16, 3 * 32 * 8 * 64), lses = device.Allocate(DType.F32, 3 * 32 * 8);
        DeviceMatrix queries = queryBuffer.AsMatrix(32, 8 * 64), keys = Rows(cache, 0, 100), values = Rows(cache, 100, 100);
        DeviceMatrix promptKeys = Rows(cache, 0, 60), promptValues = Rows(cache, 100, 60);
        DeviceMatrix documentKeys = Rows(cache, 60, 40), documentValues = Rows(cache, 160, 40);
        AttentionState ofPrompt = State(0), ofDocument = State(1), whole = State(2);
        float scale = 1 / MathF.Sqrt(64);

        // README begin
        // 32 questions about one document behind one system prompt: queries [32, 8 * 64], keys and values [positions, 2 * 64]
        device.Operators.PrefixAttention(queries, promptKeys, promptValues, kvHeads: 2, scale, ofPrompt);
        device.Operators.PrefixAttention(queries, documentKeys, documentValues, kvHeads: 2, scale, ofDocument);
        device.Operators.MergeAttention(ofPrompt, ofDocument, whole); // the softmax over both; an AttentionState is (Out, Lse)
        // README end

        Half[,] merged = whole.Out.ToArray<Half>();
        device.Operators.PrefixAttention(queries, keys, values, 2, scale, ofPrompt);
        Half[,] atOnce = ofPrompt.Out.ToArray<Half>();
        for (int row = 0; row < 32; row++)
            for (int column = 0; column < 8 * 64; column++) Assert.Equal((float)atOnce[row, column], (float)merged[row, column], 2e-3f);

        DeviceBuffer Random(int seed, int rows, int columns) =>
            device.Upload(new Memory2D<float>(Numbers.Uniform(seed, rows * columns, 1), rows, columns).Span, DType.F16);
        DeviceMatrix Rows(DeviceBuffer buffer, int first, int count) => buffer.AsMatrix(200, 2 * 64).SliceRows(first, count);
        AttentionState State(int i) => new(outs.AsMatrix(96, 8 * 64).SliceRows(32 * i, 32), lses.AsMatrix(96, 8).SliceRows(32 * i, 32));
    }

    [Fact]
    public void RaggedRound()
    {
        Device device = Device.Cpu;
        using var memory = new PaddedMemory(device, new PaddedShape(2, 1, 8, 1, 6, DType.F16, PaddingSide.Left));
        memory.SetTokens([[7, 8, 9], [5]], length: 3);
        memory.Caches = [.. memory.Caches.Select(cache => new float[cache.Length])];
        (PaddedBatch batch, PaddedLayer[] layers) = (memory.Batch, memory.Layers);

        // README begin
        // tokens { { 7, 8, 9, ... }, { -, -, 5, ... } }: the target accepted two drafts for row 0, none for row 1, and said a token itself for each
        using DeviceBuffer gained = device.Upload<int>([1, 2, 3, 4, 0, 0]), counts = device.Upload<int>([3, 1]);
        device.Operators.RealignPadded(batch, layers, gained.AsSpan<int>(), counts.AsSpan<int>()); // tokens, positions, mask, keys and values
        int[] tokens = batch.Tokens.ToArray();                   // { { 7, 8, 9, 1, 2, 3 }, { -, -, -, -, 5, 4 } }
        // README end

        Assert.Equal([7, 8, 9, 1, 2, 3, .. Enumerable.Repeat(PaddedMemory.PadToken, 4), 5, 4], tokens);
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

    [Fact]
    public void Speculation()
    {
        (string Prompt, string Expected)[] samples = DemoModelTests.Samples()[..2];
        IEnumerable<string> prompts = samples.Select(sample => sample.Prompt);
        Environment.CurrentDirectory = Repository.Root;

        // README begin
        var options = new EngineOptions { Speculation = new SpeculationOptions { DraftModel = "samples/tickets/draft" } };
        using Engine engine = Engine.Load("samples/tickets/model", options);
        IReadOnlyList<Completion> completions = engine.Generate(prompts.Select(prompt => engine.CreateRequest(prompt)));
        SpeculationCounters drafts = engine.Speculation!;   // what was drafted and accepted, by length, and where the time went
        // README end

        Assert.Equal(samples.Select(sample => sample.Expected), completions.Select(completion => completion.Text));
        Assert.True(drafts.Accepted > 0);
    }

    [Fact]
    public async Task Online()
    {
        (string prompt, string expected) = DemoModelTests.Samples()[0];
        (string user, string chat) = ("someone", "a talk");
        var text = new StringBuilder();
        Environment.CurrentDirectory = Repository.Root;

        // README begin
        var options = new EngineOptions
        {
            TimeBetweenTokens = TimeSpan.FromMilliseconds(50),        // long prompts are computed in parts that keep it
            Order = new PriorityOrder(new FairOrder()),               // by priority, then fair between tenants
            Timeouts = TimeoutPolicy.EndHopeless,                     // ends what cannot be done in time any more
        };
        var limits = new EngineHostOptions { QueueCapacity = 256, TenantCapacity = 32, WhenFull = WhenFull.Reject };
        await using EngineHost host = EngineHost.Load("samples/tickets/model", options, limits);

        var request = new Request(host.Tokenizer!.Encode(prompt), new SamplingOptions { MaxTokens = 64 })
        {
            Tenant = user, Priority = 1, Timeout = TimeSpan.FromSeconds(30),
            Session = chat, KeepFor = TimeSpan.FromSeconds(30),       // its keys and values wait that long for the next turn
        };
        try
        {
            await foreach (string piece in host.GenerateTextAsync(request)) text.Append(piece);
        }
        catch (QueueFullException full)
        {
            text.Append(full.Message);                                // how many wait, and the limit
        }
        TimeSpan p99 = host.Latencies.TimeBetweenTokens.P99;
        // README end

        Assert.Equal(expected, text.ToString());
        Assert.InRange(p99, TimeSpan.FromTicks(1), TimeSpan.FromSeconds(30));
    }

    [Fact]
    public void WholeJob()
    {
        (string Prompt, string Expected)[] samples = DemoModelTests.Samples()[..3];
        IEnumerable<string> prompts = samples.Select(sample => sample.Prompt);
        Environment.CurrentDirectory = Repository.Root;

        // README begin
        using Engine engine = Engine.Load("samples/tickets/model");
        List<Request> requests = [.. prompts.Select(prompt => engine.CreateRequest(prompt))];
        engine.Use(ServingPolicy.Named("kernelforge"), requests);     // plans the job; ServingPolicy.Names lists the others
        IReadOnlyList<Completion> completions = engine.Generate(requests);
        // README end

        Assert.Equal(samples.Select(sample => sample.Expected), completions.Select(completion => completion.Text));
    }

    [Theory]
    [InlineData(nameof(Numerics))]
    [InlineData(nameof(Quantised))]
    [InlineData(nameof(SharedPrefix))]
    [InlineData(nameof(RaggedRound))]
    [InlineData(nameof(Pipeline))]
    [InlineData(nameof(Synchronous))]
    [InlineData(nameof(Speculation))]
    [InlineData(nameof(Online))]
    [InlineData(nameof(WholeJob))]
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
