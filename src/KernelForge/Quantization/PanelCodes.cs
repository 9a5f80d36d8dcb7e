using System.Runtime.Intrinsics;

namespace KernelForge;

/// <summary>The codes of 128 outputs by 128 k, one byte each and row after row, into the order of <see cref="PanelLayout"/> and back.</summary>
internal static unsafe class PanelCodes
{
    private const int Tile = PackedLayout.Tile, Panel = PanelLayout.Panel, Square = PanelWords.Square;
    private const uint LowHalves = 0x0F0F_0F0F;

    /// <param name="codes">[128, 128].</param>
    /// <param name="packed"><see cref="PackedLayout.BlockBytes"/>.</param>
    /// <param name="bits">4 or 8.</param>
    public static void Pack(byte* codes, byte* packed, int bits)
    {
        uint* square = stackalloc uint[Square * Square];
        int squareK = Square * 32 / bits;
        for (int output = 0; output < Tile; output += Square)
            for (int k = 0; k < Tile; k += squareK)
            {
                for (int row = 0; row < Square; row++) Words(codes + (output + row) * Tile + k, bits).Store(square + row * Square);
                PanelWords.Transpose(square, Square, At(packed, output, k, bits), Panel);
            }
    }

    /// <summary>The reverse of <see cref="Pack"/>.</summary>
    public static void Unpack(byte* packed, byte* codes, int bits)
    {
        uint* square = stackalloc uint[Square * Square];
        int squareK = Square * 32 / bits;
        for (int output = 0; output < Tile; output += Square)
            for (int k = 0; k < Tile; k += squareK)
            {
                PanelWords.Transpose(At(packed, output, k, bits), Panel, square, Square);
                for (int row = 0; row < Square; row++) Codes(square + row * Square, codes + (output + row) * Tile + k, bits);
            }
    }

    /// <summary>Where the word of an output and k lies.</summary>
    private static uint* At(byte* packed, int output, int k, int bits) =>
        (uint*)packed + (output / Panel * Tile + k) * bits / 32 * Panel + output % Panel;

    /// <summary>Eight words of one output: of 8 codes of 4 bits the last four come to lie above the first.</summary>
    private static Vector256<uint> Words(byte* codes, int bits)
    {
        if (bits == 8) return Vector256.Load(codes).AsUInt32();
        Vector256<ulong> first = Vector256.Load((ulong*)codes), second = Vector256.Load((ulong*)codes + 4);
        return Vector256.Narrow(first | first >>> 28, second | second >>> 28);
    }

    private static void Codes(uint* words, byte* codes, int bits)
    {
        Vector256<uint> eight = Vector256.Load(words);
        if (bits == 8)
        {
            eight.AsByte().Store(codes);
            return;
        }
        (Vector256<ulong> first, Vector256<ulong> second) = Vector256.Widen(eight);
        Vector256<ulong> mask = Vector256.Create(LowHalves).AsUInt64();
        ((first | first << 28) & mask).Store((ulong*)codes);
        ((second | second << 28) & mask).Store((ulong*)codes + 4);
    }
}
