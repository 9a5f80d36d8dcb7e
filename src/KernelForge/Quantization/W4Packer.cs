using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>Makes <see cref="W4Weights"/>.</summary>
public static class W4Packer
{
    /// <summary>
    /// Quantises dense weights by rounding to nearest, as <see cref="QuantizedMatrix.Round(ReadOnlySpan2D{float}, WeightFormat, DType)"/> does, and packs them.
    /// </summary>
    /// <param name="device">Where to.</param>
    /// <param name="weights">[n, k], finite: one output's weights after the other.</param>
    /// <param name="format">What codes shall mean; of 4 bits, k a multiple of its group size.</param>
    /// <exception cref="ArgumentException">The format does not fit, or a weight is not finite.</exception>
    public static W4Weights Pack(Device device, ReadOnlySpan2D<float> weights, WeightFormat format) => Pack(device, QuantizedMatrix.Round(weights, format));

    /// <summary>The same of Half or BFloat16.</summary>
    public static W4Weights Pack<T>(Device device, ReadOnlySpan2D<T> weights, WeightFormat format) where T : unmanaged =>
        Pack(device, QuantizedMatrix.Round(weights, format));

    /// <summary>Quantises dense weights of any float type that are on a device, by rounding to nearest, and packs them there.</summary>
    /// <param name="weights">[n, k], finite; a GPU does not check that.</param>
    /// <param name="format">What codes shall mean; of 4 bits, k a multiple of its group size.</param>
    /// <exception cref="ArgumentException">The format does not fit, or on the CPU a weight is not finite.</exception>
    public static W4Weights Pack(in DeviceMatrix weights, WeightFormat format) => (W4Weights)Packing.Pack(weights, format, 4);

    /// <summary>Packs quantised weights of 4 bits.</summary>
    /// <exception cref="ArgumentException">They have not 4 bits.</exception>
    public static W4Weights Pack(Device device, QuantizedMatrix matrix) => (W4Weights)Packing.Pack(device, matrix, 4);

    /// <summary>Packs gate and up projection of an MLP, of one format, shape and order, so that one product gives silu(gate) · up.</summary>
    public static W4Weights PackGated(Device device, QuantizedMatrix gate, QuantizedMatrix up) => (W4Weights)Packing.PackGated(device, gate, up, 4);
}
