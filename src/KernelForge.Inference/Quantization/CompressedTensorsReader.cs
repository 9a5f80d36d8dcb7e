namespace KernelForge.Inference;

/// <summary>
/// Weights as compressed-tensors stores them in format "pack-quantized":
/// <code>
/// weight_packed      I32 [n, ⌈k / 8⌉]       bits 4 i … of word (r, w) are the code of input 8 w + i of output r  (8 bits: four to a word)
/// weight_scale       float [n, groups]
/// weight_zero_point  I32 [⌈n / 8⌉, groups]  asymmetric only: bits 4 i … of word (w, g) are the zero point of output 8 w + i
/// weight_shape       I64 or I32 [2]         n, k
/// weight_g_idx       I32 [k], optional      group of each input (actorder "group"); all -1 where it does not matter
/// </code>
/// Its codes are signed numbers plus 8 (128), which makes them what <see cref="QuantizedMatrix"/> holds.
/// </summary>
internal static class CompressedTensorsReader
{
    /// <exception cref="ModelFormatException">A tensor is missing, of another shape, or holds what it must not.</exception>
    public static WordMatrix Read(PackedTensors tensors, QuantizationConfig config)
    {
        WeightFormat format = config.Format;
        (int n, int perWord) = (tensors.N, 32 / format.Bits);
        tensors.ShapeOf(format, WordOrder.CompressedTensors);
        tensors.RequireShape(".weight_shape");
        int groups = format.Groups(tensors.K);
        byte[]? zeros = format.HasZeroPoints ? Zeros(tensors.Words(".weight_zero_point", (n + perWord - 1) / perWord, groups), n, groups, format.Bits) : null;
        if (zeros is null && tensors.Contains(".weight_zero_point")) throw tensors.Invalid("quantization_config says symmetric and there is a weight_zero_point");
        float[] scales = tensors.Floats(".weight_scale", n, groups);
        return tensors.Matrix(format, WordOrder.CompressedTensors, config.CodesSuffix, scales, zeros, tensors.Order(config));
    }

    /// <summary>[n, groups].</summary>
    private static byte[] Zeros(PackedWords words, int n, int groups, int bits)
    {
        int perWord = 32 / bits, mask = (1 << bits) - 1;
        var zeros = new byte[n * groups];
        for (int output = 0; output < n; output++)
        {
            ReadOnlySpan<uint> row = words.Row(output / perWord);
            for (int group = 0; group < groups; group++) zeros[output * groups + group] = (byte)((row[group] >> bits * (output % perWord)) & mask);
        }
        return zeros;
    }
}
