using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelForge;

/// <summary>
/// The codes of 128 outputs by 128 k, one byte each and row after row, into the orders of <see cref="PackedLayout"/> and back. <see cref="CodeOrder.Mma"/>:
/// sixteen k of two outputs, 8 apart, become one word (4 bits) or two (8 bits) of each of four lanes by one shuffle of bytes; words of four vectors then change
/// places, as a lane keeps its own together.
/// </summary>
internal static unsafe class BlockCodes
{
    private const int Tile = PackedLayout.Tile, Step = 16, LaneBytes = 16;

    /// <param name="codes">[128, 128].</param>
    /// <param name="packed"><see cref="PackedLayout.BlockBytes"/>.</param>
    /// <param name="bits">4 or 8.</param>
    /// <param name="order">Of the packed codes.</param>
    public static void Pack(byte* codes, byte* packed, int bits, CodeOrder order)
    {
        if (order == CodeOrder.Panels) PanelCodes.Pack(codes, packed, bits);
        else PackMma(codes, packed, bits);
    }

    /// <summary>The reverse of <see cref="Pack"/>.</summary>
    public static void Unpack(byte* packed, byte* codes, int bits, CodeOrder order)
    {
        if (order == CodeOrder.Panels) PanelCodes.Unpack(packed, codes, bits);
        else UnpackMma(packed, codes, bits);
    }

    private static void PackMma(byte* codes, byte* packed, int bits)
    {
        int vectors = bits / 2, steps = 8 / vectors;
        for (int sixteen = 0; sixteen < Tile / 16; sixteen++)
            for (int vector = 0; vector < vectors; vector++, packed += 32 * LaneBytes)
                for (int row = 0; row < 8; row++)
                {
                    byte* upper = codes + (sixteen * 16 + row) * Tile + vector * steps * Step, lower = upper + 8 * Tile;
                    byte* lanes = packed + row * 4 * LaneBytes;
                    if (bits == 4) Store(Words4(upper, lower, 0), Words4(upper, lower, 1), Words4(upper, lower, 2), Words4(upper, lower, 3), lanes);
                    else
                    {
                        (Vector128<uint> first, Vector128<uint> second) = Words8(upper, lower, 0);
                        (Vector128<uint> third, Vector128<uint> fourth) = Words8(upper, lower, 1);
                        Store(first, second, third, fourth, lanes);
                    }
                }
    }

    private static void UnpackMma(byte* packed, byte* codes, int bits)
    {
        int vectors = bits / 2, steps = 8 / vectors;
        for (int sixteen = 0; sixteen < Tile / 16; sixteen++)
            for (int vector = 0; vector < vectors; vector++, packed += 32 * LaneBytes)
                for (int row = 0; row < 8; row++)
                {
                    byte* upper = codes + (sixteen * 16 + row) * Tile + vector * steps * Step, lower = upper + 8 * Tile;
                    uint* lanes = (uint*)(packed + row * 4 * LaneBytes);
                    if (bits == 4)
                        for (int step = 0; step < 4; step++) Codes4(Words(lanes + step), upper + step * Step, lower + step * Step);
                    else
                        for (int step = 0; step < 2; step++) Codes8(Words(lanes + 2 * step), Words(lanes + 2 * step + 1), upper + step * Step, lower + step * Step);
                }
    }

    /// <summary>A word of each of four lanes.</summary>
    private static Vector128<uint> Words(uint* lanes) => Vector128.Create(lanes[0], lanes[4], lanes[8], lanes[12]);

    private static void Codes4(Vector128<uint> words, byte* upper, byte* lower)
    {
        Vector128<byte> both = Vector128.Shuffle(words.AsByte(), Vector128.Create((byte)0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
        (both & Vector128.Create((byte)15)).Store(upper);
        (both >>> 4).Store(lower);
    }

    private static void Codes8(Vector128<uint> low, Vector128<uint> high, byte* upper, byte* lower)
    {
        Vector128<ushort> first = Separate(low), second = Separate(high);
        Vector128.Create(first.GetLower(), second.GetLower()).AsByte().Store(upper);
        Vector128.Create(first.GetUpper(), second.GetUpper()).AsByte().Store(lower);
    }

    private static Vector128<ushort> Separate(Vector128<uint> words) => Vector128.Shuffle(words.AsUInt16(), Vector128.Create((ushort)0, 2, 4, 6, 1, 3, 5, 7));

    /// <summary>One word for each of four lanes: registers 0 to 3 are (upper, k), (lower, k), (upper, k + 8), (lower, k + 8).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Words4(byte* upper, byte* lower, int step)
    {
        Vector128<ushort> both = Vector128.Load(upper + step * Step).AsUInt16() | Vector128.Load(lower + step * Step).AsUInt16() << 4;
        return Vector128.Shuffle(both.AsByte(), Vector128.Create((byte)0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)).AsUInt32();
    }

    /// <summary>Two words for each of four lanes: k of both outputs, then k + 8 of both.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector128<uint> Low, Vector128<uint> High) Words8(byte* upper, byte* lower, int step)
    {
        Vector128<ushort> pairs = Vector128.Load(upper + step * Step).AsUInt16(), others = Vector128.Load(lower + step * Step).AsUInt16();
        return (Interleave(pairs.GetLower(), others.GetLower()), Interleave(pairs.GetUpper(), others.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Interleave(Vector64<ushort> first, Vector64<ushort> second) =>
        Vector128.Shuffle(Vector128.Create(first, second), Vector128.Create((ushort)0, 4, 1, 5, 2, 6, 3, 7)).AsUInt32();

    /// <summary>Lane q's four words are element q of the four vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector128<uint> a, Vector128<uint> b, Vector128<uint> c, Vector128<uint> d, byte* lanes)
    {
        for (int q = 0; q < 4; q++) Vector128.Create(a[q], b[q], c[q], d[q]).Store((uint*)(lanes + q * LaneBytes));
    }
}
