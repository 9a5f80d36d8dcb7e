using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>From quantised matrices to the packed layout and back, on the host. Goes through bounded pieces, so no array has to hold a whole matrix of weights.</summary>
internal static unsafe class Packing
{
    private const int PieceBytes = 32 << 20, Tile = PackedLayout.Tile;

    public static PackedWeights Pack(Device device, QuantizedMatrix matrix, int bits)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(matrix);
        Check.That(matrix.Format.Bits == bits, $"Pack: the weights are {matrix.Format}, expected {bits} bits");
        return Pack(device, PackedHeader.Of(matrix.Format, matrix.N, matrix.K, isGated: false, matrix.Order is not null), packed => Write(packed, matrix));
    }

    public static PackedWeights PackGated(Device device, QuantizedMatrix gate, QuantizedMatrix up, int bits)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(gate);
        ArgumentNullException.ThrowIfNull(up);
        Check.That(gate.Format.Bits == bits, $"PackGated: the weights are {gate.Format}, expected {bits} bits");
        CheckGated((gate.Format, gate.N, gate.K, gate.Order), (up.Format, up.N, up.K, up.Order));
        return Pack(device, PackedHeader.Of(gate.Format, checked(2 * gate.N), gate.K, isGated: true, gate.Order is not null), packed => Write(packed, gate, up));
    }

    /// <summary>Rounds dense weights on their device, and packs them there.</summary>
    public static PackedWeights Pack(DeviceMatrix weights, WeightFormat format, int bits)
    {
        Device device = weights.Device ?? throw new ArgumentException("Pack: the weights are empty, expected at least one output and one input");
        Check.That(format.Bits == bits, $"Pack: the format is {format}, expected {bits} bits");
        format.Check("Pack", weights.Rows, weights.Columns);
        PackedHeader header = PackedHeader.Of(format, weights.Rows, weights.Columns, isGated: false, hasOrder: false);
        return Pack(device, header, packed => device.Operators.PackWeights(weights, packed));
    }

    /// <summary>Packs weights in words on their device, two as gated weights.</summary>
    public static PackedWeights Pack(WordMatrix matrix, WordMatrix? up)
    {
        if (up is not null) CheckGated((matrix.Format, matrix.N, matrix.K, matrix.Order), (up.Format, up.N, up.K, up.Order));
        int n = checked(up is null ? matrix.N : 2 * matrix.N);
        PackedHeader header = PackedHeader.Of(matrix.Format, n, matrix.K, up is not null, matrix.Order is not null);
        return Pack(matrix.Device, header, packed => matrix.Device.Operators.PackWords(matrix, up, packed));
    }

    /// <summary>The codes, scales, zero points and order of packed weights; of gated weights the gates first, then the up projection.</summary>
    public static QuantizedMatrix Unpack(PackedWeights weights)
    {
        PackedLayout layout = weights.Layout;
        (int n, int k, int groups) = (layout.N, layout.K, layout.Format.Groups(layout.K));
        Check.That((long)n * k <= Array.MaxLength, $"Unpack: {weights} are {(long)n * k} codes, expected at most {Array.MaxLength}");
        var matrix = new QuantizedMatrix(
            layout.Format, n, k, new byte[n * k], new float[n * groups],
            layout.Format.HasZeroPoints ? new byte[n * groups] : null, weights.HasOrder ? ReadOrder(weights) : null);
        var source = new PackedRows(weights.IsGated, layout.N);
        var codes = new byte[layout.Blocks * layout.BlockBytes];
        var scales = new float[layout.Groups * Tile];
        var zeros = new byte[matrix.Zeros is null ? 0 : scales.Length];
        for (int tile = 0; tile < layout.Tiles; tile++)
        {
            Read(weights, (long)tile * codes.Length, codes);
            Read(weights, layout.ScalesOffset + (long)tile * scales.Length * sizeof(float), MemoryMarshal.AsBytes(scales.AsSpan()));
            Read(weights, layout.ZerosOffset + (long)tile * scales.Length, zeros);
            int first = tile * Tile;
            Parallel.For(0, Math.Min(Tile, n - first), row =>
            {
                int output = source.Of(first + row);
                for (int j = 0; j < k; j++)
                {
                    (long at, int bit) = layout.Code(row, j);
                    matrix.Codes[output * k + j] = (byte)((codes[at] >> bit) & layout.Format.MaxCode);
                }
                for (int group = 0; group < groups; group++)
                {
                    matrix.Scales[output * groups + group] = scales[layout.Scale(row, group)];
                    if (matrix.Zeros is not null) matrix.Zeros[output * groups + group] = zeros[layout.Scale(row, group)];
                }
            });
        }
        return matrix;
    }

    /// <summary>Whole blocks of codes from one order to another, in place.</summary>
    public static void Reorder(Span<byte> blocks, in PackedLayout from, CodeOrder to)
    {
        if (from.CodeOrder == to) return;
        (int bits, int blockBytes, CodeOrder order) = (from.Format.Bits, from.BlockBytes, from.CodeOrder);
        fixed (byte* start = blocks)
        {
            byte* first = start;
            Parallel.For(0, blocks.Length / blockBytes, block =>
            {
                byte* codes = stackalloc byte[Tile * Tile], packed = first + (nint)block * blockBytes;
                BlockCodes.Unpack(packed, codes, bits, order);
                BlockCodes.Pack(codes, packed, bits, to);
            });
        }
    }

    /// <summary>Input of each packed column.</summary>
    public static int[] ReadOrder(PackedWeights weights)
    {
        var order = new int[weights.K];
        Read(weights, weights.Layout.OrderOffset, MemoryMarshal.AsBytes(order.AsSpan()));
        return order;
    }

    /// <summary>Fills packed weights of the same format and shape with one matrix, or with two that are gated.</summary>
    public static void Write(PackedWeights weights, QuantizedMatrix matrix, QuantizedMatrix? up = null)
    {
        WriteCodes(weights, matrix, up);
        WriteGroups(weights, matrix.Scales, up?.Scales, matrix.Zeros, up?.Zeros, matrix.Order);
    }

    /// <summary>Writes everything but codes.</summary>
    public static void WriteGroups(PackedWeights weights, float[] scales, float[]? upScales, byte[]? zeros, byte[]? upZeros, int[]? order)
    {
        WriteGroups(weights, weights.Layout.ScalesOffset, scales, upScales);
        if (zeros is not null) WriteGroups(weights, weights.Layout.ZerosOffset, zeros, upZeros);
        if (order is not null) weights.Buffer.CopyFrom(MemoryMarshal.AsBytes(order.AsSpan()), weights.Layout.OrderOffset);
    }

    /// <summary>New weights, written by <paramref name="write"/>.</summary>
    private static PackedWeights Pack(Device device, in PackedHeader header, Action<PackedWeights> write)
    {
        PackedWeights weights = PackedWeights.Allocate(device, header);
        try
        {
            write(weights);
            ClearGaps(weights);
            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    private static void CheckGated((WeightFormat Format, int N, int K, int[]? Order) gate, (WeightFormat Format, int N, int K, int[]? Order) up)
    {
        Check.That(gate.Format == up.Format && gate.N == up.N && gate.K == up.K, $"PackGated: gate is {gate.Format}[{gate.N}, {gate.K}], up {up.Format}[{up.N}, {up.K}]; expected the same");
        Check.That(gate.N % 8 == 0, $"PackGated: {gate.N} outputs, expected a multiple of 8");
        Check.That(gate.Order.AsSpan().SequenceEqual(up.Order), $"PackGated: gate and up take their inputs in different orders");
    }

    /// <summary>Sections start at multiples of 256 bytes: what lies between them is 0, so that the same weights are the same bytes.</summary>
    private static void ClearGaps(PackedWeights weights)
    {
        PackedLayout layout = weights.Layout;
        Clear(weights, layout.ZerosOffset + (layout.Format.HasZeroPoints ? (long)layout.Tiles * layout.Groups * Tile : 0), layout.OrderOffset);
        Clear(weights, layout.OrderOffset + (weights.HasOrder ? (long)layout.K * sizeof(int) : 0), layout.Bytes);
    }

    private static void Clear(PackedWeights weights, long start, long end) => weights.Buffer.CopyFrom(new byte[end - start], start);

    /// <summary>Blocks of 128 outputs by 128 k, a piece of them at a time, each by whichever thread is free.</summary>
    private static void WriteCodes(PackedWeights weights, QuantizedMatrix matrix, QuantizedMatrix? up)
    {
        PackedLayout layout = weights.Layout;
        long blocks = (long)layout.Tiles * layout.Blocks;
        var piece = new byte[Math.Min(blocks, PieceBytes / layout.BlockBytes) * layout.BlockBytes];
        for (long start = 0; start < blocks; start += piece.Length / layout.BlockBytes)
        {
            int count = (int)Math.Min(blocks - start, piece.Length / layout.BlockBytes);
            Parallel.For(0, count, block =>
            {
                byte* codes = stackalloc byte[Tile * Tile];
                (long tile, long inTile) = Math.DivRem(start + block, layout.Blocks);
                Gather(codes, layout, (int)tile * Tile, (int)inTile * Tile, matrix, up);
                fixed (byte* packed = &piece[block * layout.BlockBytes]) BlockCodes.Pack(codes, packed, layout.Format.Bits, layout.CodeOrder);
            });
            weights.Buffer.CopyFrom(piece.AsSpan(0, count * layout.BlockBytes), start * layout.BlockBytes);
        }
    }

    /// <summary>The codes of a block row after row; padding means 0.</summary>
    private static void Gather(byte* codes, in PackedLayout layout, int firstOutput, int firstK, QuantizedMatrix matrix, QuantizedMatrix? up)
    {
        var source = new PackedRows(up is not null, layout.N);
        int there = Math.Min(Tile, layout.K - firstK), perChannelZero = layout.Format.HasZeroPoints ? 0 : layout.Format.MiddleCode;
        for (int row = 0; row < Tile; row++, codes += Tile)
        {
            if (firstOutput + row >= layout.N)
            {
                new Span<byte>(codes, Tile).Fill((byte)perChannelZero);
                continue;
            }
            int output = source.Of(firstOutput + row);
            (QuantizedMatrix from, int index) = output < matrix.N ? (matrix, output) : (up!, output - matrix.N);
            from.Codes.AsSpan((int)((long)index * layout.K + firstK), there).CopyTo(new Span<byte>(codes, there));
            int zero = layout.Format.GroupSize == 0 ? from.Zero(index, 0) : perChannelZero;
            new Span<byte>(codes + there, Tile - there).Fill((byte)zero);
        }
    }

    /// <summary>Values [n, groups] as [tile][group][128], one tile at a time; padding is 0.</summary>
    private static void WriteGroups<T>(PackedWeights weights, long offset, T[] values, T[]? upValues) where T : unmanaged
    {
        PackedLayout layout = weights.Layout;
        int groups = layout.Format.Groups(layout.K), half = values.Length / groups;
        var source = new PackedRows(weights.IsGated, layout.N);
        var piece = new T[layout.Groups * Tile];
        for (int tile = 0; tile < layout.Tiles; tile++)
        {
            Array.Clear(piece);
            for (int row = 0; row < Math.Min(Tile, layout.N - tile * Tile); row++)
            {
                int output = source.Of(tile * Tile + row);
                ReadOnlySpan<T> from = output < half ? values.AsSpan(output * groups, groups) : upValues.AsSpan((output - half) * groups, groups);
                for (int group = 0; group < groups; group++) piece[group * Tile + row] = from[group];
            }
            weights.Buffer.CopyFrom(MemoryMarshal.AsBytes(piece.AsSpan()), offset + (long)tile * piece.Length * sizeof(T));
        }
    }

    private static void Read(PackedWeights weights, long start, Span<byte> bytes)
    {
        if (bytes.Length > 0) weights.Device.CopyToHost(weights.Buffer.Address + (nint)start, bytes);
    }

    /// <summary>Which output of the source a packed output is.</summary>
    private readonly record struct PackedRows(bool IsGated, int N)
    {
        public int Of(int output) => IsGated ? PackedLayout.GatedSource(output, N) : output;
    }
}
