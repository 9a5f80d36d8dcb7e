namespace KernelForge.Inference;

/// <summary>
/// Weights as AWQ tools store them for their "gemm" kernels (AutoAWQ's WQLinear_GEMM):
/// <code>
/// qweight  I32 [k, n / 8]       bits 4 i … of word (r, w) are the code of input r of output 8 w + order[i], order = 0 2 4 6 1 3 5 7
/// qzeros   I32 [groups, n / 8]  zero points in the same order, as they are
/// scales   float [groups, n]
/// </code>
/// </summary>
internal static class AwqReader
{
    private const int PerWord = 8;

    // Where in a word each of eight outputs is: the inverse of the order.
    private static ReadOnlySpan<byte> Shifts => [0, 16, 4, 20, 8, 24, 12, 28];

    /// <exception cref="ModelFormatException">A tensor is missing or of another shape.</exception>
    public static WordMatrix Read(PackedTensors tensors, QuantizationConfig config)
    {
        WeightFormat format = config.Format;
        tensors.ShapeOf(format, WordOrder.Awq);
        (int n, int groups) = (tensors.N, format.Groups(tensors.K));
        byte[] zeros = Zeros(tensors.Words(".qzeros", groups, n / PerWord), n, groups);
        float[] scales = PackedTensors.Transposed<float>(tensors.Floats(".scales", groups, n), groups, n);
        return tensors.Matrix(format, WordOrder.Awq, config.CodesSuffix, scales, zeros, null);
    }

    /// <summary>[n, groups].</summary>
    private static byte[] Zeros(PackedWords words, int n, int groups)
    {
        var zeros = new byte[n * groups];
        for (int group = 0; group < groups; group++)
        {
            ReadOnlySpan<uint> row = words.Row(group);
            for (int output = 0; output < n; output++) zeros[output * groups + group] = (byte)((row[output / PerWord] >> Shifts[output % PerWord]) & 15);
        }
        return zeros;
    }
}
