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
    public void ForModel_Policies_AreHandedOn()
    {
        var engineOptions = new EngineOptions { Admission = new AggressiveAdmission(), Order = new ArrivalOrder(), Decodes = new AllDecodes() };

        SchedulerOptions options = engineOptions.ForModel(2048, [2], bytesPerBlock: 100, maxTokensPerStep: 1);

        Assert.Same(engineOptions.Admission, options.Admission);
        Assert.Same(engineOptions.Order, options.Order);
        Assert.Same(engineOptions.Decodes, options.Decodes);
    }

    [Fact]
    public void ForModel_ContextBeyondTheModels_IsTheModels() =>
        Assert.Equal(32, new EngineOptions { ContextLength = 64 }.ForModel(32, [], 100, 1).ContextLength);
}
