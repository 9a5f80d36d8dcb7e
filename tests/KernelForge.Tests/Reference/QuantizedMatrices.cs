namespace KernelForge.Tests;

/// <summary>Quantised weights for tests: every format, random or with all codes, and how they get onto a device.</summary>
internal static class QuantizedMatrices
{
    /// <summary>4 and 8 bits, groups of 32, 64, 128 and all of an output, without and with zero points.</summary>
    public static WeightFormat[] Formats { get; } =
    [
        .. from bits in (int[])[4, 8] from size in (int[])[0, 32, 64, 128] from zeros in (bool[])[false, true] select new WeightFormat(bits, size, zeros),
    ];

    /// <summary>The formats as theory data can hold them, for <see cref="WeightFormat.Parse"/>.</summary>
    public static IEnumerable<string> FormatNames => Formats.Select(format => format.ToString());

    /// <summary>Random codes and zero points, scales that make weights of about 1; with an order, inputs shuffled.</summary>
    public static QuantizedMatrix Random(WeightFormat format, int n, int k, int seed, bool hasOrder = false)
    {
        var random = new Random(seed);
        int groups = format.Groups(k);
        var codes = new byte[n * k];
        for (int i = 0; i < codes.Length; i++) codes[i] = (byte)random.Next(format.MaxCode + 1);
        float[] scales = [.. Enumerable.Range(0, n * groups).Select(_ => (random.NextSingle() + 0.5f) / format.MiddleCode)];
        byte[]? zeros = format.HasZeroPoints ? [.. Enumerable.Range(0, n * groups).Select(_ => (byte)random.Next(format.MaxCode + 1))] : null;
        int[]? order = hasOrder ? [.. Enumerable.Range(0, k)] : null;
        if (order is not null) random.Shuffle(order);
        return new QuantizedMatrix(format, n, k, codes, scales, zeros, order);
    }

    /// <summary>Every code next to every zero point, in time, with the scales given in turn.</summary>
    public static QuantizedMatrix AllCodes(WeightFormat format, int n, int k, params ReadOnlySpan<float> scales)
    {
        int groups = format.Groups(k);
        var codes = new byte[n * k];
        for (int i = 0; i < codes.Length; i++) codes[i] = (byte)((i / k * 5 + i % k) % (format.MaxCode + 1));
        var all = new float[n * groups];
        for (int i = 0; i < all.Length; i++) all[i] = scales[i % scales.Length];
        byte[]? zeros = format.HasZeroPoints ? [.. Enumerable.Range(0, n * groups).Select(i => (byte)(i * 3 % (format.MaxCode + 1)))] : null;
        return new QuantizedMatrix(format, n, k, codes, all, zeros);
    }

    /// <summary>Packs with the packer of its bits.</summary>
    public static PackedWeights Pack(Device device, QuantizedMatrix matrix) =>
        matrix.Format.Bits == 4 ? W4Packer.Pack(device, matrix) : W8Packer.Pack(device, matrix);

    /// <summary>Packs gate and up projection with the packer of their bits.</summary>
    public static PackedWeights PackGated(Device device, QuantizedMatrix gate, QuantizedMatrix up) =>
        gate.Format.Bits == 4 ? W4Packer.PackGated(device, gate, up) : W8Packer.PackGated(device, gate, up);

    /// <summary>A k that the format divides: so many groups, or per channel so many times 40 and 1 more.</summary>
    public static int Length(WeightFormat format, int groups) => format.GroupSize == 0 ? 40 * groups + 1 : format.GroupSize * groups;
}
