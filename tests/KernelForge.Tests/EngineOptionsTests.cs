using KernelForge.Inference;

namespace KernelForge.Tests;

public class EngineOptionsTests
{
    public static TheoryData<EngineOptions, string> OutOfRange => new()
    {
        { new() { TokenBudget = 0 }, nameof(EngineOptions.TokenBudget) },
        { new() { MaxSequences = 0 }, nameof(EngineOptions.MaxSequences) },
        { new() { BlockSize = 0 }, nameof(EngineOptions.BlockSize) },
        { new() { KvBlocks = 0 }, nameof(EngineOptions.KvBlocks) },
        { new() { KvMemoryBytes = 0 }, nameof(EngineOptions.KvMemoryBytes) },
        { new() { ContextLength = 1 }, nameof(EngineOptions.ContextLength) },
        { new() { QueueCapacity = 0 }, nameof(EngineOptions.QueueCapacity) },
        { new() { TimeBetweenTokens = TimeSpan.Zero }, nameof(EngineOptions.TimeBetweenTokens) },
        { new() { Activations = (ActivationPrecision)3 }, nameof(EngineOptions.Activations) },
        { new() { Activations = ActivationPrecision.BF16, PackWeights = false }, nameof(EngineOptions.Activations) },
    };

    [Theory, MemberData(nameof(OutOfRange))]
    public void Validate_OptionOutOfRange_ThrowsNamingIt(EngineOptions options, string name) =>
        Assert.Equal(name, Assert.Throws<ArgumentException>(options.Validate).ParamName);

    [Fact]
    public void ForModel_MemoryGiven_TakesAsManyBlocksAsFit()
    {
        var engineOptions = new EngineOptions { KvMemoryBytes = 1050, ContextLength = 64 };

        SchedulerOptions options = engineOptions.ForModel(2048, [2], bytesPerBlock: 100, maxTokensPerStep: 3);

        Assert.Equal((10, 64, 3), (options.BlockCount, options.ContextLength, options.MaxTokensPerStep));
        Assert.Throws<ArgumentException>(() => new EngineOptions { KvMemoryBytes = 99 }.ForModel(2048, [2], bytesPerBlock: 100, maxTokensPerStep: 1));
    }

    [Fact]
    public void ForModel_TokenTrees_LeaveMemoryForBranches()
    {
        var trees = new SpeculationOptions { DraftModel = "draft", Branches = 3, DraftLength = 5 };
        for (int blocks = 1; blocks < 300; blocks++)
        {
            var engineOptions = new EngineOptions { Speculation = trees, KvMemoryBytes = 100 * blocks, TokenBudget = 64, MaxSequences = 8 };
            SchedulerOptions options = engineOptions.ForModel(2048, [2], bytesPerBlock: 100, maxTokensPerStep: 6);

            Assert.Equal(3, options.DraftNodes);
            Assert.InRange(options.BlockCount + engineOptions.BranchBlocks(options.BlockCount), blocks - 1, blocks);
            if (blocks > 250) Assert.Equal(64 * 2 / 3, engineOptions.BranchBlocks(options.BlockCount)); // two of three nodes of a full step
        }
        Assert.Equal(0, new EngineOptions { Speculation = trees with { Branches = 1 } }.BranchBlocks(1000));
    }

    [Fact]
    public void ForModel_Speculation_DecidesDraftLengths()
    {
        Assert.IsType<AdaptiveDraftLength>(DraftLengthsOf(new SpeculationOptions()));
        Assert.Equal([6, 6], Lengths(DraftLengthsOf(new SpeculationOptions { DraftLength = 6 })));
        Assert.Equal([0, 0], Lengths(DraftLengthsOf(null)));

        static IDraftLengthPolicy DraftLengthsOf(SpeculationOptions? speculation) =>
            new EngineOptions { Speculation = speculation }.ForModel(2048, [2], bytesPerBlock: 100, maxTokensPerStep: 7).DraftLengths;

        static int[] Lengths(IDraftLengthPolicy policy)
        {
            var lengths = new int[2];
            policy.Choose([new DraftCandidate(0.5f, 0, 16), new DraftCandidate(0.5f, 0, 16)], 0, 100, default, lengths);
            return lengths;
        }
    }

    [Fact]
    public void ForModel_Policies_AreHandedOn()
    {
        var engineOptions = new EngineOptions { Admission = new AggressiveAdmission(), Order = new ArrivalOrder(), Decodes = new AllDecodes() };

        SchedulerOptions options = engineOptions.ForModel(2048, [2], bytesPerBlock: 100, maxTokensPerStep: 1);

        Assert.Same(engineOptions.Admission, options.Admission);
        Assert.Same(engineOptions.Order, options.Order);
        Assert.Same(engineOptions.Decodes, options.Decodes);
    }

    [Fact]
    public void ForModel_TimeBetweenTokens_DecidesTheBudget()
    {
        var timed = new EngineOptions { TimeBetweenTokens = TimeSpan.FromMilliseconds(50) };

        Assert.Equal(timed.TimeBetweenTokens, Assert.IsType<LatencyBudget>(timed.ForModel(2048, [2], 100, 1, tile: 128).Budget).Target);
        Assert.IsType<FixedBudget>(new EngineOptions().ForModel(2048, [2], 100, 1).Budget);
    }

    [Fact]
    public void ForModel_ContextBeyondTheModels_IsTheModels() =>
        Assert.Equal(32, new EngineOptions { ContextLength = 64 }.ForModel(32, [], 100, 1).ContextLength);
}
