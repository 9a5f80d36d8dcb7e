namespace KernelForge.Inference;

/// <summary>
/// Weights as GPTQ tools store them (AutoGPTQ's and GPTQModel's QuantLinear.pack):
/// <code>
/// qweight  I32 [k / 8, n]       bits 4 i … of word (r, c) are the code of input 8 r + i of output c       (8 bits: four to a word)
/// qzeros   I32 [groups, n / 8]  bits 4 i … of word (g, w) are the zero point of output 8 w + i; version 1 stores one less
/// scales   float [groups, n]
/// g_idx    I32 [k], optional    group of each input; not ascending after quantisation in activation order (desc_act)
/// </code>
/// Version 1 subtracts 0x11111111 from a whole word, so adding it back is exact even where a zero point of 0 borrowed from its neighbour. A layer without
/// groups has one row of scales.
/// </summary>
internal static class GptqReader
{
    /// <exception cref="ModelFormatException">A tensor is missing, of another shape, or holds what it must not.</exception>
    public static WordMatrix Read(PackedTensors tensors, QuantizationConfig config)
    {
        WeightFormat format = config.Format;
        (int n, int perWord) = (tensors.N, 32 / format.Bits);
        tensors.ShapeOf(format, WordOrder.Gptq);
        if (n % perWord != 0) throw tensors.Invalid($"it has {n} outputs, expected a multiple of {perWord}, as many as a word holds");
        int groups = format.Groups(tensors.K);
        byte[]? zeros = Zeros(tensors, tensors.Words(".qzeros", groups, n / perWord), config, groups);
        float[] scales = PackedTensors.Transposed<float>(tensors.Floats(".scales", groups, n), groups, n);
        return tensors.Matrix(format, WordOrder.Gptq, config.CodesSuffix, scales, zeros, tensors.Order(config));
    }

    /// <summary>[n, groups], or null where the configuration says symmetric, which every zero point must then be.</summary>
    private static byte[]? Zeros(PackedTensors tensors, PackedWords words, QuantizationConfig config, int groups)
    {
        WeightFormat format = config.Format;
        int perWord = 32 / format.Bits, n = tensors.N;
        uint mask = (1u << format.Bits) - 1, less = config.Method == QuantizationMethod.GptqV2 ? 0 : format.Bits == 4 ? 0x11111111u : 0x01010101u;
        var zeros = new byte[groups * n];
        for (int group = 0; group < groups; group++)
        {
            ReadOnlySpan<uint> row = words.Row(group);
            for (int output = 0; output < n; output++)
                zeros[output * groups + group] = (byte)(((row[output / perWord] + less) >> format.Bits * (output % perWord)) & mask);
        }
        if (format.HasZeroPoints) return zeros;
        int odd = zeros.AsSpan().IndexOfAnyExcept((byte)format.MiddleCode);
        if (odd >= 0) throw tensors.Invalid($"quantization_config says symmetric and qzeros holds {zeros[odd]}, expected {format.MiddleCode}");
        return null;
    }
}
