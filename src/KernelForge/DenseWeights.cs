using KernelForge.Cpu;

namespace KernelForge;

/// <summary>
/// Dense weights in the order in which the CPU's products read them fastest (<see cref="PanelLayout"/>): a copy of a [n, k] matrix, made once. The values are
/// the same, and so are the bits of a product. Freed by <see cref="Dispose"/>.
/// </summary>
public sealed class DenseWeights : IDisposable
{
    /// <summary>Version of the order in which weights, dense and quantised, lie on the CPU.</summary>
    public const int LayoutVersion = 1;

    internal DenseWeights(DeviceBuffer buffer, DType type, int n, int k, bool isGated) => (Buffer, DType, N, K, IsGated) = (buffer, type, n, k, isGated);

    /// <summary>Type of the weights.</summary>
    public DType DType { get; }

    /// <summary>Outputs: columns of a product, twice as many where <see cref="IsGated"/>.</summary>
    public int N { get; }

    /// <summary>Inputs: columns of x.</summary>
    public int K { get; }

    /// <summary>Gate and up projection of an MLP in one: a product is silu(x · gateᵀ) · (x · upᵀ), with N / 2 columns.</summary>
    public bool IsGated { get; }

    /// <summary>Columns of a product.</summary>
    public int ResultColumns => IsGated ? N / 2 : N;

    /// <summary>Where the weights are.</summary>
    public Device Device => Buffer.Device;

    /// <summary>Bytes on the device.</summary>
    public long SizeInBytes => Buffer.SizeInBytes;

    /// <summary>The weights as they lie on the device, for reading.</summary>
    public DeviceBuffer Buffer { get; }

    /// <summary>Whether products on a device take weights like these: the CPU.</summary>
    public static bool IsFor(Device device) => device is CpuDevice;

    /// <summary>Bytes of weights with so many outputs and inputs, padding included.</summary>
    public static long SizeOf(DType type, int n, int k) => PanelLayout.Bytes(type, n, k);

    /// <summary>Weights that lie in memory already, such as a mapped file: bytes as those of <see cref="Buffer"/>. Owns the buffer.</summary>
    /// <exception cref="ArgumentException">The buffer has another length, is not aligned to 64 bytes, or is on another kind of device.</exception>
    public static DenseWeights Wrap(DeviceBuffer packed, DType type, int n, int k, bool isGated = false)
    {
        ArgumentNullException.ThrowIfNull(packed);
        Check.That(IsFor(packed.Device), $"DenseWeights: packed weights are on {packed.Device.Name}, expected a CPU device");
        Check.That(packed.SizeInBytes == SizeOf(type, n, k), $"DenseWeights: {packed.SizeInBytes} bytes for {type}[{n}, {k}], expected {SizeOf(type, n, k)}");
        Check.That(packed.Address % PanelLayout.LineBytes == 0, $"DenseWeights: packed weights start {packed.Address % PanelLayout.LineBytes} bytes behind a multiple of {PanelLayout.LineBytes}");
        return new DenseWeights(packed, type, n, k, isGated);
    }

    /// <summary>Whether the weights are F16 and none is infinite or NaN.</summary>
    internal bool AreFiniteHalves { get; init; }

    /// <summary>Copies the weights of a matrix on a CPU device.</summary>
    /// <param name="weights">F32, F16 or BF16 [n, k], none of them 0.</param>
    /// <exception cref="ArgumentException">The matrix is empty, of whole numbers, or on another device.</exception>
    public static DenseWeights Pack(in DeviceMatrix weights) => Panels.Pack(weights);

    /// <summary>Copies gate and up projection of an MLP, of one shape and type, with a multiple of 8 outputs.</summary>
    /// <exception cref="ArgumentException">They differ, or as <see cref="Pack"/>.</exception>
    public static DenseWeights PackGated(in DeviceMatrix gate, in DeviceMatrix up) => Panels.PackGated(gate, up);

    /// <inheritdoc/>
    public void Dispose() => Buffer.Dispose();

    /// <summary>As in BF16[4096, 4096].</summary>
    public override string ToString() => $"{DType}[{N}, {K}]{(IsGated ? " gated" : "")}";
}
