using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>
/// Quantised weights on a device, in the order in which its products read them, whatever the number of rows; in a file the same bytes for every device. Made by
/// <see cref="W4Packer"/> and <see cref="W8Packer"/>; freed by <see cref="Dispose"/>.
/// </summary>
public abstract class PackedWeights : IDisposable
{
    private const int PieceBytes = 8 << 20;

    private protected PackedWeights(DeviceBuffer buffer, PackedHeader header) => (Header, Layout, Buffer) = (header, header.LayoutOn(buffer.Device), buffer);

    /// <summary>What codes mean.</summary>
    public WeightFormat Format => Header.Format;

    /// <summary>Outputs: columns of a product, twice as many where <see cref="IsGated"/>.</summary>
    public int N => Header.N;

    /// <summary>Inputs: columns of x.</summary>
    public int K => Header.K;

    /// <summary>Gate and up projection of an MLP in one: a product is silu(x · gateᵀ) · (x · upᵀ), with N / 2 columns.</summary>
    public bool IsGated => Header.IsGated;

    /// <summary>Whether weights are stored in another order than the inputs (activation order); columns of x are then taken in that order.</summary>
    public bool HasOrder => Header.HasOrder;

    /// <summary>Columns of a product.</summary>
    public int ResultColumns => IsGated ? N / 2 : N;

    /// <summary>Where the weights are.</summary>
    public Device Device => Buffer.Device;

    /// <summary>Bytes on the device.</summary>
    public long SizeInBytes => Buffer.SizeInBytes;

    /// <summary>Format, shape and order of sums, as they are stored in front of saved weights.</summary>
    public PackedHeader Header { get; }

    internal PackedLayout Layout { get; }

    /// <summary>The weights as they lie on the device, for reading.</summary>
    public DeviceBuffer Buffer { get; }

    /// <summary>
    /// x · weightsᵀ, or silu(x · gateᵀ) · (x · upᵀ) of gated weights, from host to host: for trying out. Where the device does not compute in F32, x is
    /// rounded to its first type, see <see cref="Device.ComputeTypes"/>. Many products of the same memory take <see cref="Operators.MatMulPacked"/>.
    /// </summary>
    /// <param name="x">[rows, <see cref="K"/>].</param>
    /// <returns>[rows, <see cref="ResultColumns"/>].</returns>
    /// <exception cref="ArgumentException">x has another number of columns.</exception>
    public float[,] Multiply(ReadOnlySpan2D<float> x)
    {
        var result = new float[x.Height, ResultColumns];
        DType type = Device.ComputeTypes.Contains(DType.F32) ? DType.F32 : Device.ComputeTypes[0];
        using DeviceBuffer inputs = Device.Upload(x, type), outputs = Device.Allocate(DType.F32, result.LongLength);
        DeviceMatrix product = outputs.AsMatrix(x.Height, ResultColumns);
        Device.Operators.MatMulPacked(inputs.AsMatrix(x.Height, x.Width), this, product);
        product.CopyTo<float>(result);
        return result;
    }

    /// <summary>The codes, scales, zero points and order that were packed; of gated weights the gates first, then the up projection.</summary>
    /// <exception cref="ArgumentException">They are too many for arrays.</exception>
    public QuantizedMatrix Unpack() => Packing.Unpack(this);

    /// <summary>Writes <see cref="Header"/>, then the weights, in one order for all devices.</summary>
    public void Save(Stream stream)
    {
        Header.Write(stream);
        byte[] piece = NewPiece();
        for (long start = 0; start < SizeInBytes;)
        {
            Span<byte> bytes = Piece(piece, start);
            Device.CopyToHost(Buffer.Address + (nint)start, bytes);
            if (start < Layout.ScalesOffset) Packing.Reorder(bytes, Layout, CodeOrder.Mma);
            stream.Write(bytes);
            start += bytes.Length;
        }
    }

    /// <summary>Packs quantised weights of 4 or 8 bits: <see cref="W4Packer"/> or <see cref="W8Packer"/>, whichever fits.</summary>
    public static PackedWeights Pack(Device device, QuantizedMatrix matrix)
    {
        ArgumentNullException.ThrowIfNull(matrix);
        return Packing.Pack(device, matrix, matrix.Format.Bits);
    }

    /// <summary>Packs gate and up projection of an MLP, of one format, shape and order.</summary>
    /// <exception cref="ArgumentException">They differ, or their outputs are no multiple of 8.</exception>
    public static PackedWeights PackGated(Device device, QuantizedMatrix gate, QuantizedMatrix up)
    {
        ArgumentNullException.ThrowIfNull(gate);
        return Packing.PackGated(device, gate, up, gate.Format.Bits);
    }

    /// <summary>Packs weights whose codes are in the words of a checkpoint, on the device where those are.</summary>
    public static PackedWeights Pack(WordMatrix matrix)
    {
        ArgumentNullException.ThrowIfNull(matrix);
        return Packing.Pack(matrix, null);
    }

    /// <summary>Packs gate and up projection of an MLP, of one format, shape and order, their codes in the words of a checkpoint on one device.</summary>
    /// <exception cref="ArgumentException">They differ, or their outputs are no multiple of 8.</exception>
    public static PackedWeights PackGated(WordMatrix gate, WordMatrix up)
    {
        ArgumentNullException.ThrowIfNull(gate);
        ArgumentNullException.ThrowIfNull(up);
        return Packing.Pack(gate, up);
    }

    /// <summary>Bytes that weights of a format and shape take on a device.</summary>
    public static long SizeOf(WeightFormat format, int n, int k, bool hasOrder = false)
    {
        format.Check("SizeOf", n, k);
        return new PackedLayout(format, n, k, hasOrder, CodeOrder.Mma).Bytes;
    }

    /// <summary>Reads what <see cref="Save"/> wrote, on whatever device.</summary>
    /// <exception cref="InvalidDataException">The stream holds no packed weights, those of another version, or not all of them.</exception>
    /// <exception cref="OutOfMemoryException">The device has not that much memory.</exception>
    public static PackedWeights Load(Device device, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(device);
        PackedHeader header = PackedHeader.Read(stream);
        long bytes = header.Layout.Bytes;
        if (stream.CanSeek && stream.Length - stream.Position < bytes) throw Truncated(bytes, stream.Length - stream.Position);
        PackedWeights weights = Allocate(device, header);
        try
        {
            weights.Read(stream);
            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Weights that lie on a device already, such as a mapped file: bytes as those of <see cref="Buffer"/> on the same kind of device. Owns the buffer.
    /// </summary>
    /// <exception cref="InvalidDataException">The buffer has another length, is not aligned to 64 bytes, or the order of the inputs is none.</exception>
    public static PackedWeights Wrap(PackedHeader header, DeviceBuffer packed)
    {
        ArgumentNullException.ThrowIfNull(packed);
        if (packed.SizeInBytes != header.Layout.Bytes) throw Truncated(header.Layout.Bytes, packed.SizeInBytes);
        if (packed.Address % PanelLayout.LineBytes != 0) throw new InvalidDataException($"Packed weights: expected a multiple of {PanelLayout.LineBytes} as address, got {packed.Address}.");
        PackedWeights weights = Of(packed, header);
        weights.CheckOrder();
        return weights;
    }

    /// <summary>Room for weights of 4 or 8 bits, not cleared.</summary>
    internal static PackedWeights Allocate(Device device, in PackedHeader header) => Of(device.Allocate(DType.I8, header.Layout.Bytes), header);

    private static PackedWeights Of(DeviceBuffer buffer, in PackedHeader header) => header.Format.Bits == 4 ? new W4Weights(buffer, header) : new W8Weights(buffer, header);

    /// <inheritdoc/>
    public void Dispose()
    {
        Buffer.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>As in w4g128[4096, 4096].</summary>
    public override string ToString() => $"{Format}[{N}, {K}]{(IsGated ? " gated" : "")}";

    private void Read(Stream stream)
    {
        byte[] piece = NewPiece();
        for (long start = 0; start < SizeInBytes;)
        {
            Span<byte> bytes = Piece(piece, start);
            int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            if (length < bytes.Length) throw Truncated(SizeInBytes, start + length);
            if (start < Layout.ScalesOffset) Packing.Reorder(bytes, Header.Layout, Layout.CodeOrder);
            Buffer.CopyFrom(bytes, start);
            start += bytes.Length;
        }
        CheckOrder();
    }

    private void CheckOrder()
    {
        if (HasOrder && !QuantizedMatrix.IsPermutation(Packing.ReadOrder(this), K))
            throw new InvalidDataException($"Packed weights: the order of the {K} inputs is no permutation.");
    }

    private byte[] NewPiece() => new byte[Math.Min(SizeInBytes, PieceBytes)];

    /// <summary>What is read or written next: whole blocks of codes, or of what follows them.</summary>
    private Span<byte> Piece(byte[] piece, long start) =>
        piece.AsSpan(0, (int)Math.Min(piece.Length, (start < Layout.ScalesOffset ? Layout.ScalesOffset : SizeInBytes) - start));

    private static InvalidDataException Truncated(long expected, long came) => new($"Packed weights: expected {expected} bytes behind the header, got {came}.");
}

/// <summary>4-bit weights for <see cref="Operators.MatMulW4"/>.</summary>
public sealed class W4Weights : PackedWeights
{
    internal W4Weights(DeviceBuffer buffer, PackedHeader header) : base(buffer, header)
    {
    }
}

/// <summary>8-bit weights for <see cref="Operators.MatMulW8"/>.</summary>
public sealed class W8Weights : PackedWeights
{
    internal W8Weights(DeviceBuffer buffer, PackedHeader header) : base(buffer, header)
    {
    }
}
