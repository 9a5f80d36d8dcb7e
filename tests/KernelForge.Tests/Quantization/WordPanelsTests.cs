namespace KernelForge.Tests;

/// <summary>Codes in the words of a checkpoint, which the CPU packs as words.</summary>
public class WordPanelsTests
{
    private const int N = 256, K = 384;

    [Theory]
    [InlineData(QuantizationMethod.GptqV2, "w4g128")]
    [InlineData(QuantizationMethod.GptqV2, "w8g64-asym")]
    [InlineData(QuantizationMethod.CompressedTensors, "w4g32-asym")]
    [InlineData(QuantizationMethod.CompressedTensors, "w4")]
    [InlineData(QuantizationMethod.CompressedTensors, "w8g128")]
    public void Pack_WholeBlocks_IsWhatTheHostPacksCodeByCode(QuantizationMethod method, string formatText)
    {
        var format = WeightFormat.Parse(formatText);
        QuantizedMatrix gate = QuantizedMatrices.Random(format, N, K, 1), up = QuantizedMatrices.Random(format, N, K, 2);
        using var folder = new SafetensorsFolder([.. StoredWeights.Tensors(method, "gate", gate), .. StoredWeights.Tensors(method, "up", up)]);
        var config = new QuantizationConfig(method, format);
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
        using WordMatrix gateWords = config.Read(folder.Checkpoint, "gate", N, K, device), upWords = config.Read(folder.Checkpoint, "up", N, K, device);

        using PackedWeights packed = PackedWeights.Pack(upWords), expected = PackedWeights.Pack(device, upWords.ToMatrix());
        using PackedWeights gated = PackedWeights.PackGated(gateWords, upWords), expectedGated = PackedWeights.PackGated(device, gateWords.ToMatrix(), upWords.ToMatrix());

        Assert.Equal(Weights.Bytes(expected), Weights.Bytes(packed));
        Assert.Equal(Weights.Bytes(expectedGated), Weights.Bytes(gated));
    }
}
