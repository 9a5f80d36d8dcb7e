using System.Runtime.InteropServices;
using KernelForge.Cuda;

namespace KernelForge;

/// <summary>What packed weights are; stored in front of them.</summary>
/// <param name="Format">What codes mean.</param>
/// <param name="N">Outputs.</param>
/// <param name="K">Inputs.</param>
/// <param name="IsGated">Gate and up projection in one.</param>
/// <param name="HasOrder">Weights have an order of their own.</param>
/// <param name="LaneLength">Elements of k that a GPU sums in one chain; depends on N and K alone.</param>
public readonly record struct PackedHeader(WeightFormat Format, int N, int K, bool IsGated, bool HasOrder, int LaneLength)
{
    /// <summary>Version of the layout.</summary>
    public const int Version = 1;

    private const ulong Magic = 0x4b50_5448_4749_4557; // "WEIGHTPK", lowest byte first
    private const int ZeroPointsFlag = 1, GatedFlag = 2, OrderFlag = 4, GatedColumns = 16;

    /// <summary>Of what follows a header in a file.</summary>
    internal PackedLayout Layout => new(Format, N, K, HasOrder, CodeOrder.Mma);

    /// <summary>Of the weights on a device.</summary>
    internal PackedLayout LayoutOn(Device device) => new(Format, N, K, HasOrder, device.IsCpu ? CodeOrder.Panels : CodeOrder.Mma);

    internal static PackedHeader Of(WeightFormat format, int n, int k, bool isGated, bool hasOrder) =>
        new(format, n, k, isGated, hasOrder, MatMulLanes.Length(n, k));

    /// <summary>Writes the header, 48 bytes, as <see cref="Read"/> expects it.</summary>
    public void Write(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        int flags = (Format.HasZeroPoints ? ZeroPointsFlag : 0) | (IsGated ? GatedFlag : 0) | (HasOrder ? OrderFlag : 0);
        var stored = new Stored(Magic, Version, Format.Bits, Format.GroupSize, flags, N, K, LaneLength, 0, Layout.Bytes);
        stream.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<Stored>(in stored)));
    }

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    /// <exception cref="InvalidDataException">It is no header, of another version, or does not hold together; says what was expected and what came.</exception>
    public static PackedHeader Read(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        Stored stored = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<Stored>(ref stored));
        int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        Require(length == bytes.Length, $"a header of {bytes.Length} bytes", $"{length} bytes");
        Require(stored.Magic == Magic, $"packed weights, which start with {Magic:x16}", $"{stored.Magic:x16}");
        Require(stored.Version == Version, $"version {Version}", $"version {stored.Version}");
        Require((stored.Flags & ~(ZeroPointsFlag | GatedFlag | OrderFlag)) == 0, "flags from 0 to 7", $"{stored.Flags}");

        var format = new WeightFormat(stored.Bits, stored.GroupSize, (stored.Flags & ZeroPointsFlag) != 0);
        try
        {
            format.Check("header", stored.N, stored.K);
        }
        catch (ArgumentException error)
        {
            throw new InvalidDataException($"Packed weights: {error.Message}", error);
        }
        PackedHeader header = Of(format, stored.N, stored.K, (stored.Flags & GatedFlag) != 0, (stored.Flags & OrderFlag) != 0);
        Require(!header.IsGated || header.N % GatedColumns == 0, $"gated weights with a multiple of {GatedColumns} outputs", $"{header.N}");
        Require(stored.LaneLength == header.LaneLength, $"lanes of {header.LaneLength} for [{header.N}, {header.K}]", $"lanes of {stored.LaneLength}");
        Require(stored.Bytes == header.Layout.Bytes, $"{header.Layout.Bytes} bytes for {format}[{header.N}, {header.K}]", $"{stored.Bytes}");
        return header;
    }

    private static void Require(bool holds, string expected, string came)
    {
        if (!holds) throw new InvalidDataException($"Packed weights: expected {expected}, got {came}.");
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Stored(
        ulong Magic, int Version, int Bits, int GroupSize, int Flags, int N, int K, int LaneLength, int Padding, long Bytes);
}
