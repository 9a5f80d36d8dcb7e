namespace KernelForge.Inference;

/// <summary>How a checkpoint stores quantised weights.</summary>
public enum QuantizationMethod
{
    /// <summary>GPTQ as AutoGPTQ writes it: one less than each zero point.</summary>
    Gptq,

    /// <summary>GPTQ with zero points as they are.</summary>
    GptqV2,

    /// <summary>AWQ, version "gemm".</summary>
    Awq,

    /// <summary>compressed-tensors, format "pack-quantized".</summary>
    CompressedTensors,
}

/// <summary>
/// What <c>quantization_config</c> says. Which modules are quantised is what their tensors show: lists of modules that are not (modules_to_not_convert, ignore,
/// lm_head) are not needed.
/// </summary>
/// <param name="Method">How the weights are stored.</param>
/// <param name="Format">What their codes mean.</param>
/// <param name="HasOrder">GPTQ: whether groups follow an activation order (desc_act), so that every module has to say which inputs are in which.</param>
public sealed record QuantizationConfig(QuantizationMethod Method, WeightFormat Format, bool HasOrder = false)
{
    /// <summary>Tensor of a module that holds its codes, behind the module's name.</summary>
    internal string CodesSuffix => Method == QuantizationMethod.CompressedTensors ? ".weight_packed" : ".qweight";

    /// <summary>Tensor of a module that holds the group of each input, where there is one.</summary>
    internal string OrderSuffix => Method == QuantizationMethod.CompressedTensors ? ".weight_g_idx" : ".g_idx";

    /// <summary>The weights of a module, its codes on a device: on the CPU the mapped file, valid while the checkpoint is open.</summary>
    /// <exception cref="ModelFormatException">A tensor is missing, of another shape, or holds what it must not.</exception>
    /// <exception cref="OperationCanceledException">Reading was cancelled.</exception>
    internal WordMatrix Read(Checkpoint checkpoint, string module, int n, int k, Device device, CancellationToken cancellation = default)
    {
        var tensors = new PackedTensors(checkpoint, module, n, k, device, cancellation);
        return Method switch
        {
            QuantizationMethod.Awq => AwqReader.Read(tensors, this),
            QuantizationMethod.CompressedTensors => CompressedTensorsReader.Read(tensors, this),
            _ => GptqReader.Read(tensors, this),
        };
    }

    /// <summary>Outputs and inputs, the latter up to whole words, of a module whose words of codes have a shape.</summary>
    internal (int N, int K) ShapeOf(IReadOnlyList<long> words)
    {
        int rows = checked((int)words[0]), columns = checked((int)words[^1]), perWord = 32 / Format.Bits;
        return Method switch
        {
            QuantizationMethod.Awq => (columns * perWord, rows),
            QuantizationMethod.CompressedTensors => (rows, columns * perWord),
            _ => (columns, rows * perWord),
        };
    }

    /// <summary>As in "w4g128 (gptq)".</summary>
    public override string ToString() => $"{Format} ({Method switch
    {
        QuantizationMethod.Gptq => "gptq",
        QuantizationMethod.GptqV2 => "gptq_v2",
        QuantizationMethod.Awq => "awq",
        _ => "compressed-tensors",
    }})";
}
