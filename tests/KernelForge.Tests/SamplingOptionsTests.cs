using KernelForge.Inference;

namespace KernelForge.Tests;

public class SamplingOptionsTests
{
    public static TheoryData<SamplingOptions, string> OutOfRange => new()
    {
        { new() { Temperature = -0.1f }, nameof(SamplingOptions.Temperature) },
        { new() { Temperature = float.NaN }, nameof(SamplingOptions.Temperature) },
        { new() { TopK = -1 }, nameof(SamplingOptions.TopK) },
        { new() { TopP = 0 }, nameof(SamplingOptions.TopP) },
        { new() { TopP = 1.1f }, nameof(SamplingOptions.TopP) },
        { new() { MinP = -0.1f }, nameof(SamplingOptions.MinP) },
        { new() { RepetitionPenalty = 0 }, nameof(SamplingOptions.RepetitionPenalty) },
        { new() { PresencePenalty = 3 }, nameof(SamplingOptions.PresencePenalty) },
        { new() { FrequencyPenalty = float.NaN }, nameof(SamplingOptions.FrequencyPenalty) },
        { new() { MaxTokens = 0 }, nameof(SamplingOptions.MaxTokens) },
        { new() { MaxTokens = 3, MinTokens = 4 }, nameof(SamplingOptions.MinTokens) },
        { new() { StopTokenIds = [-1] }, nameof(SamplingOptions.StopTokenIds) },
        { new() { StopStrings = [""] }, nameof(SamplingOptions.StopStrings) },
        { new() { LogProbs = -1 }, nameof(SamplingOptions.LogProbs) },
        { new() { LogitBias = new Dictionary<int, float> { [1] = float.NaN } }, nameof(SamplingOptions.LogitBias) },
        { new() { N = 0 }, nameof(SamplingOptions.N) },
        { new() { N = 1025 }, nameof(SamplingOptions.N) }, // every sample takes memory as soon as it is queued
    };

    [Theory, MemberData(nameof(OutOfRange))]
    public void Validate_OptionOutOfRange_ThrowsNamingIt(SamplingOptions options, string name)
    {
        var exception = Assert.Throws<ArgumentException>(() => new Request([1], options));

        Assert.Equal(name, exception.ParamName);
        Assert.Contains($"SamplingOptions.{name} must be", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Request_EmptyPrompt_Throws() => Assert.Throws<ArgumentException>(() => new Request([]));

    [Fact]
    public void Request_PromptChangedAfterwards_KeepsItsOwnCopy()
    {
        int[] prompt = [1, 2];
        var request = new Request(prompt);

        prompt[0] = 9;

        Assert.Equal([1, 2], request.PromptTokenIds.ToArray());
    }
}
