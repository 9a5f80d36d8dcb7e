using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// What only sm_90a has, against definitions, on the emulator and on a GPU: tiles of tensors as they lie in shared memory, products of a warpgroup, warps with roles.
/// </summary>
public class Sm90ConformanceTests
{
    private const int Threads = 128, Rows = 64, Depth = 64, TileBytes = 64 * 128;

    // The box at a corner, across each end of the tensor, before its start, outside.
    private static readonly int[][] Corners = [[0, 0, 0, 0], [24, 3, 1, 1], [40, 8, 2, 1], [-8, -2, -1, 0], [72, 0, 0, 0]];

    private static readonly int[] TensorSizes = [69, 10, 3, 2]; // rows of 72 elements; they end within a word

    public static TheoryData<string, int, int, int> Copies =>
        Cases.Of(Sm90Names, [2, 3, 4], [0, 1, 2, 3], Enumerable.Range(0, Corners.Length));

    public static TheoryData<string, string> Products => Cases.Of(Sm90Names,
        from type in (string[])["f16", "bf16"]
        from kernel in (string[])["shared", "registers_k_major", "registers_64", "registers_96", "registers_128", "registers_256"]
        select $"{kernel}_{type}");

    public static TheoryData<string> Sm90 => [.. Sm90Names];

    private static string[] Sm90Names => ["emulated-sm90", "cuda"];

    [DeviceTheory, MemberData(nameof(Copies))]
    public void Tile_LiesSwizzledAndFilledWithZeros(string deviceName, int rank, int swizzle, int corner)
    {
        if (Open(deviceName) is not { } session) return;
        using DriverSession opened = session;
        int[] origin = Corners[corner], box = [swizzle == 0 ? 64 : 8 << swizzle, 8, rank > 2 ? 2 : 1, rank > 3 ? 2 : 1];
        ushort[] tensor = [.. Enumerable.Range(1, 72 * 10 * 3 * 2).Select(i => (ushort)i)];
        int bytes = 2 * box[0] * box[1] * box[2] * box[3];
        CudaTensorMap map = TensorMaps.Encode(session, session.Upload<ushort>(tensor), DType.F16, [.. TensorSizes.Take(rank)], [144, 1440, 4320], [.. box.Take(rank)], swizzle);
        nint output = session.Allocate(bytes);
        var args = new CopyArgs { Map = map, Output = output, Rank = rank, Bytes = bytes, X = origin[0], Y = origin[1], Z = origin[2], W = origin[3] };

        session.Check(session.Launch(session.Kernel("sm90", "conform_copies"), 1, Threads, args, bytes));

        Assert.Equal(Tile(tensor, rank, box, origin, swizzle), session.Download<ushort>(output, bytes / 2));
    }

    [DeviceTheory, MemberData(nameof(Sm90))]
    public void BulkCopy_MovesBytes(string deviceName)
    {
        if (Open(deviceName) is not { } session) return;
        using DriverSession opened = session;
        uint[] source = [.. Enumerable.Range(0, 300).Select(i => 2654435761u * (uint)i)];
        var args = new CopyArgs { Source = session.Upload<uint>(source), Output = session.Allocate(1200), Bytes = 1200 };

        session.Check(session.Launch(session.Kernel("sm90", "conform_copies"), 1, Threads, args, args.Bytes));

        Assert.Equal(source, session.Download<uint>(args.Output, source.Length));
    }

    /// <summary>The definition, and mma.sync in the same kernel: all three give the same bits, ordinary numbers and far apart exponents included.</summary>
    [DeviceTheory, MemberData(nameof(Products))]
    public void Product_HasTheBitsOfItsDefinitionAndOfMma(string deviceName, string kernel)
    {
        if (Open(deviceName) is not { } session) return;
        using DriverSession opened = session;
        DType type = kernel.EndsWith("bf16", StringComparison.Ordinal) ? DType.BF16 : DType.F16;
        bool isShared = kernel.StartsWith("shared", StringComparison.Ordinal);
        bool isKMajor = isShared || kernel.Contains("k_major", StringComparison.Ordinal);
        int columns = isKMajor ? 128 : int.Parse(kernel.Split('_')[1], null), tiles = (columns + 63) / 64;
        var random = new Random(columns);
        ushort[] a = Draw(random, Rows * Depth, type), b = Draw(random, columns * Depth, type); // b: [columns][Depth] if k-major, else [Depth][columns]
        long[] sizes = isKMajor ? [Depth, columns] : [columns, Depth];
        var args = new ProductArgs
        {
            A = TensorMaps.Encode(session, session.Upload<ushort>(a), type, [Depth, Rows], [2 * Depth], [64, 64], 3),
            B = TensorMaps.Encode(session, session.Upload<ushort>(b), type, [(int)sizes[0], (int)sizes[1]], [2 * sizes[0]], [64, 64], 3),
            Wgmma = session.Allocate(Rows * columns * 4), Mma = session.Allocate(Rows * columns * 4),
        };

        session.Check(session.Launch(session.Kernel("sm90", "conform_wgmma_" + kernel), 1, Threads, args, (1 + tiles) * TileBytes));

        uint[] expected = Multiply(a, isKMajor ? b : Transpose(b, columns), type, columns, isShared ? 1 : 0);
        Assert.Equal(expected, session.Download<uint>(args.Wgmma, expected.Length));
        Assert.Equal(expected, session.Download<uint>(args.Mma, expected.Length));
    }

    [DeviceTheory, MemberData(nameof(Sm90))]
    public void Roles_HandWordsOver(string deviceName)
    {
        if (Open(deviceName) is not { } session) return;
        using DriverSession opened = session;
        uint[] input = [.. Enumerable.Range(0, 5 * Threads).Select(i => 7 * (uint)i)];
        var args = new RolesArgs(session.Upload<uint>(input), session.Allocate(input.Length * 4), 5);

        session.Check(session.Launch(session.Kernel("sm90", "conform_roles"), 1, 2 * Threads, args));

        Assert.Equal(input.Select((_, i) => input[i / Threads * Threads + (i + 1) % Threads] + 1), session.Download<uint>(args.Output, input.Length));
    }

    // A GPU of another architecture has nothing to show.
    private static DriverSession? Open(string deviceName)
    {
        DriverSession session = ConformanceDevice.Open(deviceName);
        if (session.Architecture == "sm_90") return session;
        session.Dispose();
        return null;
    }

    // The tile in shared memory: rows of the box one after the other, 16-byte vectors moved by the address bits above them.
    private static ushort[] Tile(ushort[] tensor, int rank, int[] box, int[] origin, int swizzle)
    {
        var tile = new ushort[box[0] * box[1] * box[2] * box[3]];
        for (int i = 0; i < tile.Length; i++)
        {
            int[] at = [origin[0] + i % box[0], origin[1] + i / box[0] % box[1], origin[2] + i / box[0] / box[1] % box[2], origin[3] + i / box[0] / box[1] / box[2]];
            if (rank < 3) at[2] = 0;
            if (rank < 4) at[3] = 0;
            bool isInside = Enumerable.Range(0, rank).All(k => at[k] >= 0 && at[k] < TensorSizes[k]);
            int offset = 2 * i, place = offset ^ (offset >> 7 & ((1 << swizzle) - 1)) << 4;
            tile[place / 2] = isInside ? tensor[((at[3] * 3 + at[2]) * 10 + at[1]) * 72 + at[0]] : (ushort)0;
        }
        return tile;
    }

    private static ushort[] Draw(Random random, int count, DType type)
    {
        int spread = type == DType.F16 ? 4 : 12;
        float[] values = [.. Enumerable.Range(0, count).Select(i => (float)Math.ScaleB(random.NextDouble() * 2 - 1, i % 3 == 0 ? random.Next(-spread, spread) : 0))];
        return MemoryMarshal.Cast<byte, ushort>(Numbers.ToBytes(values, type)).ToArray();
    }

    private static ushort[] Transpose(ushort[] b, int columns) => [.. Enumerable.Range(0, columns * Depth).Select(i => b[i % Depth * columns + i / Depth])];

    // Bits of start + a · bᵀ, steps of 16 one after the other.
    private static uint[] Multiply(ushort[] a, ushort[] b, DType type, int columns, float start)
    {
        var product = new uint[Rows * columns];
        for (int i = 0; i < product.Length; i++)
        {
            uint sum = BitConverter.SingleToUInt32Bits(start);
            for (int k = 0; k < Depth; k += 16)
                sum = TensorCoreDefinition.Add(type, isHopper: true, a.AsSpan(i / columns * Depth + k, 16), b.AsSpan(i % columns * Depth + k, 16), sum);
            product[i] = sum;
        }
        return product;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct CopyArgs
    {
        public CudaTensorMap Map;
        public nint Source, Output;
        public int Rank, Bytes, X, Y, Z, W;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ProductArgs
    {
        public CudaTensorMap A, B;
        public nint Wgmma, Mma;
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct RolesArgs(nint Input, nint Output, int Rounds);
}
