namespace KernelForge.Tests;

/// <summary>Dense weights for quantisers, and what quantised ones are compared by; see <see cref="QuantizedMatrices"/> for those.</summary>
internal static class Weights
{
    /// <summary>Dense weights, most of them small.</summary>
    public static float[,] Dense(int seed, int n, int k)
    {
        var random = new Random(seed);
        var weights = new float[n, k];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < k; j++) weights[i, j] = MathF.Pow(random.NextSingle() * 2 - 1, 3);
        return weights;
    }

    /// <summary>The same codes, scales, zero points and order.</summary>
    public static void AssertSame(QuantizedMatrix expected, QuantizedMatrix actual)
    {
        Assert.Equal((expected.Format, expected.N, expected.K), (actual.Format, actual.N, actual.K));
        Assert.True(expected.Codes.AsSpan().SequenceEqual(actual.Codes), "codes differ");
        Assert.Equal(expected.Scales.Select(BitConverter.SingleToInt32Bits), actual.Scales.Select(BitConverter.SingleToInt32Bits));
        Assert.Equal(expected.Zeros, actual.Zeros);
        Assert.Equal(expected.Order, actual.Order);
    }

    /// <summary>Everything that lies on the device, in the device's order of codes.</summary>
    public static byte[] Bytes(PackedWeights weights)
    {
        var bytes = new byte[weights.SizeInBytes];
        weights.Device.CopyToHost(weights.Buffer.Address, bytes);
        return bytes;
    }

    /// <summary>What a file holds behind its header: the same for every device.</summary>
    public static byte[] FileBytes(PackedWeights weights)
    {
        using var header = new MemoryStream();
        using var file = new MemoryStream();
        weights.Header.Write(header);
        weights.Save(file);
        return file.ToArray()[(int)header.Length..];
    }
}
