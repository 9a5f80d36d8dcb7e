namespace KernelForge.Tests;

public class CostModelTests
{
    private static readonly ModelShape Llama = ModelShape.Named("llama-3-8b");

    [Fact]
    public void SecondsOf_DecodesOnH100_IsTheRooflineByHand()
    {
        var cost = new CostModel(DeviceProfile.Named("h100"), Llama);

        double seconds = cost.SecondsOf(new StepLoad(Decodes: 64, DecodeContext: 64 * 1024, PromptTokens: 0, PromptContext: 0));

        double weights = 13_958_643_712 / (0.9 * 3.35e12);                  // 32 * 4096 * (80 * 128 + 3 * 14336) weights of 2 bytes
        double attention = 64 * 1025 * 131_072.0 / (0.76 * 3.35e12);        // 2 * 32 * 8 * 128 * 2 bytes for each position
        double logits = 128_256.0 * 4096 * 2 / (0.9 * 3.35e12);
        Assert.Equal(50e-6 + 32 * 10e-6 + weights + attention + logits, seconds, 1e-9);
        Assert.InRange(seconds, 8.72e-3, 8.73e-3);
    }

    [Fact]
    public void SecondsOf_ChunkOnA100_IsTheRooflineByHand()
    {
        var cost = new CostModel(DeviceProfile.Named("a100"), Llama);

        double seconds = cost.SecondsOf(new StepLoad(Decodes: 0, DecodeContext: 0, PromptTokens: 2048, PromptContext: 2048 * 2049 / 2));

        double linear = 2 * 6_979_321_856.0 * 2048 / (0.8 * 312e12);
        double attention = 4 * 32 * 32 * 128 * 2_098_176.0 / (0.53 * 312e12);
        double logits = 128_256.0 * 4096 * 2 / (0.9 * 2.039e12);
        Assert.Equal(50e-6 + 32 * 10e-6 + linear + attention + logits, seconds, 1e-9);
    }

    [Fact]
    public void SecondsOf_TokenBeyondATile_CostsAWholeTile()
    {
        var cost = new CostModel(DeviceProfile.Named("h100"), Llama);
        double At(int tokens) => cost.SecondsOf(new StepShape { Tokens = tokens });

        Assert.Equal(At(2176), At(2049));
        Assert.Equal(128.0 / 2048, (At(2049) - At(2048)) / (At(2048) - 370e-6), 1e-9);
        Assert.Equal(At(1), At(128)); // reading the weights takes longer than multiplying with them
    }

    [Fact]
    public void SecondsOf_NoOverlap_AddsArithmeticAndTraffic()
    {
        DeviceProfile device = DeviceProfile.Named("h100");
        var shape = new StepShape { Tokens = 512 };

        double longer = new CostModel(device, Llama).SecondsOf(shape), both = new CostModel(device with { Overlap = 0 }, Llama).SecondsOf(shape);

        Assert.Equal(13_958_643_712 / (0.9 * 3.35e12), both - longer, 1e-9);
    }

    [Fact]
    public void SecondsOf_FourBitWeights_ReadsFewerBytesAndComputesSlower()
    {
        ModelShape w4 = Llama with { WeightBits = 4 };
        DeviceProfile device = DeviceProfile.Named("h100") with { StepSeconds = 0, LayerSeconds = 0 };
        double Ratio(int tokens) => new CostModel(device, Llama).SecondsOf(new StepShape { Tokens = tokens }) / new CostModel(device, w4).SecondsOf(new StepShape { Tokens = tokens });

        Assert.Equal(0.515625 * Llama.Layers * Llama.LayerWeights, w4.LinearBytes, 1.0);
        Assert.Equal(2 / 0.515625, Ratio(16), 1e-6);
        Assert.Equal(550.0 / 800, Ratio(4096), 1e-6);
    }

    [Fact]
    public void SecondsOf_WeightsThatCachesHold_AreNotRead()
    {
        DeviceProfile device = DeviceProfile.Named("h100") with { StepSeconds = 0, LayerSeconds = 0, CacheBytes = Llama.WeightBytes };
        var shape = new StepShape { Tokens = 1 };

        Assert.Equal(2 * 6_979_321_856.0 / (0.8 * 989.4e12), new CostModel(device, Llama).SecondsOf(shape), 1e-12);
        Assert.True(new CostModel(device with { CacheBytes = Llama.WeightBytes - 1 }, Llama).SecondsOf(shape) > 4e-3);
    }

    [Fact]
    public void SecondsOf_DraftPasses_CostStepsOfTheDraftModel()
    {
        DeviceProfile device = DeviceProfile.Named("h100");
        ModelShape draft = ModelShape.Named("opt-1.3b");
        var shape = new StepShape { Tokens = 40, LogitRows = 40, DraftPasses = 4, DraftTokens = 4096 };

        double added = new CostModel(device, Llama) { Draft = draft }.SecondsOf(shape) - new CostModel(device, Llama).SecondsOf(shape);

        Assert.Equal(4 * new CostModel(device, draft).SecondsOf(new StepShape { Tokens = 1024, LogitRows = 1024 }), added, 1e-12);
    }

    [Fact]
    public void SecondsOf_MoreOfAnything_IsNeverFaster()
    {
        var random = new Random(1);
        foreach (DeviceProfile device in DeviceProfile.Known)
        {
            foreach (ModelShape model in ModelShape.Known)
            {
                var cost = new CostModel(device with { RowSeconds = 1e-6 }, model) { Draft = ModelShape.Named("opt-1.3b") };
                for (int i = 0; i < 50; i++)
                {
                    int passes = random.Next(4), perPass = random.Next(100);
                    var shape = new StepShape
                    {
                        Tokens = random.Next(1, 4096), LogitRows = random.Next(512), AttendedPositions = random.Next(1 << 24), ReadPositions = random.Next(1 << 20),
                        DraftPasses = passes, DraftTokens = passes * perPass,
                    };
                    double seconds = cost.SecondsOf(shape);
                    Assert.True(seconds > 0);
                    Assert.True(cost.SecondsOf(shape with { Tokens = shape.Tokens + random.Next(1, 200) }) >= seconds);
                    Assert.True(cost.SecondsOf(shape with { LogitRows = shape.LogitRows + random.Next(1, 200) }) > seconds);
                    Assert.True(cost.SecondsOf(shape with { AttendedPositions = 2 * shape.AttendedPositions }) >= seconds);
                    Assert.True(cost.SecondsOf(shape with { ReadPositions = 2 * shape.ReadPositions }) >= seconds);
                    Assert.True(cost.SecondsOf(shape with { DraftTokens = shape.DraftTokens + random.Next(1, 200) }) >= seconds);
                    Assert.True(cost.SecondsOf(shape with { DraftPasses = passes + 1, DraftTokens = (passes + 1) * perPass }) >= seconds);
                }
            }
        }
    }

    [Fact]
    public void SecondsOf_Nothing_TakesNoTime() => Assert.Equal(0, new CostModel(DeviceProfile.Named("h100"), Llama).SecondsOf(default(StepLoad)));

    [Theory]
    [InlineData(0, 0, 300, 0)]
    [InlineData(5, 5000, 300, 1700)]
    [InlineData(7, 70, 0, 0)]
    public void Of_Load_CountsWhatAStepComputes(int decodes, int context, int chunk, int history)
    {
        var shape = StepShape.Of(new StepLoad(decodes, context, chunk, (long)chunk * history + (long)chunk * (chunk + 1) / 2));

        Assert.Equal((decodes + chunk, decodes + Math.Min(chunk, 1), chunk), (shape.Tokens, shape.LogitRows, shape.PromptTokens));
        Assert.Equal(context + decodes + chunk * history + chunk * (chunk + 1) / 2, shape.AttendedPositions);
        Assert.Equal(context + decodes + (chunk > 0 ? history + chunk : 0), shape.ReadPositions);
    }

    [Fact]
    public void KvBlocksOf_IsWhatWeightsLeaveOfNineTenths()
    {
        long weights = 13_958_643_712 + 2L * 2 * 128_256 * 4096;

        Assert.Equal((72_000_000_000 - weights) / (131_072 * 16), CostModel.KvBlocksOf(DeviceProfile.Named("h100"), Llama, 16));
        string message = Assert.Throws<ArgumentException>(() => CostModel.KvBlocksOf(DeviceProfile.Named("a10"), ModelShape.Named("llama-3-70b"), 16)).Message;
        Assert.Contains("llama-3-70b needs 141104775168 bytes for weights and 5242880 for a block", message, StringComparison.Ordinal);
        Assert.Contains("a10 has 24000000000", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama-3-8b", 8.03, 131_072)]
    [InlineData("llama-3-70b", 70.55, 327_680)]
    [InlineData("llama-2-7b", 6.74, 524_288)]
    [InlineData("llama-2-13b", 13.02, 819_200)]
    [InlineData("mistral-7b", 7.25, 131_072)]
    [InlineData("qwen2.5-7b", 7.61, 57_344)]
    [InlineData("yi-34b", 34.39, 245_760)]
    [InlineData("opt-1.3b", 1.31, 196_608)]
    [InlineData("opt-2.7b", 2.65, 327_680)]
    public void Known_Models_HaveThePublishedNumberOfWeights(string name, double billions, long kvBytesPerToken)
    {
        ModelShape model = ModelShape.Named(name);

        Assert.Equal(billions, model.Parameters / 1e9, 0.02);
        Assert.Equal(kvBytesPerToken, model.KvBytesPerToken);
    }

    [Fact]
    public void Named_UnknownModel_ListsTheKnown() =>
        Assert.StartsWith("Unknown model 'gpt'; expected llama-3-8b, llama-3-70b,", Assert.Throws<ArgumentException>(() => ModelShape.Named("gpt")).Message, StringComparison.Ordinal);

    [Fact]
    public void Of_Config_HasItsSizes()
    {
        var shape = ModelShape.Of(ModelConfig.Load(Path.Combine(Repository.Root, "samples", "tickets", "model")));

        Assert.Equal(3 * 557_056 + 262_144, shape.Parameters);
        Assert.Equal((16.0, 2048, 768L), (shape.WeightBits, shape.MaxContext, shape.KvBytesPerToken));
        Assert.Equal(4.0, ModelShape.Of(ModelConfig.Load(Path.Combine(Repository.Root, "samples", "tickets", "model")), 4).WeightBits);
    }
}
