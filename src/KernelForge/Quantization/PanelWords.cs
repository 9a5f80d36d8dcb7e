using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge;

/// <summary>Squares of eight words of eight outputs, from one output after the other to half lines of a panel and back: a transpose.</summary>
internal static unsafe class PanelWords
{
    /// <summary>Words of an output, and outputs, of a square.</summary>
    public const int Square = 8;

    /// <summary>Transposes a square.</summary>
    /// <param name="source">The first row of eight words.</param>
    /// <param name="sourceStride">Words from one row to the next.</param>
    /// <param name="destination">Where the first column goes.</param>
    /// <param name="destinationStride">Likewise.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose(uint* source, nint sourceStride, uint* destination, nint destinationStride)
    {
        if (Avx.IsSupported) TransposeWide(source, sourceStride, destination, destinationStride);
        else
            for (int row = 0; row < Square; row++)
                for (int column = 0; column < Square; column++) destination[column * destinationStride + row] = source[row * sourceStride + column];
    }

    /// <summary>Eight words of a checkpoint, codes of 4 bits from the lowest up, to the order of a panel's words: codes 0 and 4 in the lowest byte, then 1 and 5.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<uint> Interleave(Vector256<uint> words)
    {
        Vector256<uint> bytes = (words ^ (words >>> 8)) & Vector256.Create(0x0000_FF00u);
        words ^= bytes ^ (bytes << 8);
        Vector256<uint> halves = (words ^ (words >>> 4)) & Vector256.Create(0x00F0_00F0u);
        return words ^ halves ^ (halves << 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransposeWide(uint* source, nint sourceStride, uint* destination, nint destinationStride)
    {
        Vector256<float> r0 = Row(source, 0, sourceStride), r1 = Row(source, 1, sourceStride), r2 = Row(source, 2, sourceStride), r3 = Row(source, 3, sourceStride);
        Vector256<float> r4 = Row(source, 4, sourceStride), r5 = Row(source, 5, sourceStride), r6 = Row(source, 6, sourceStride), r7 = Row(source, 7, sourceStride);
        Vector256<float> a0 = Avx.UnpackLow(r0, r1), a1 = Avx.UnpackHigh(r0, r1), a2 = Avx.UnpackLow(r2, r3), a3 = Avx.UnpackHigh(r2, r3);
        Vector256<float> a4 = Avx.UnpackLow(r4, r5), a5 = Avx.UnpackHigh(r4, r5), a6 = Avx.UnpackLow(r6, r7), a7 = Avx.UnpackHigh(r6, r7);
        Store(Avx.Shuffle(a0, a2, 0x44), Avx.Shuffle(a4, a6, 0x44), destination, destinationStride);
        Store(Avx.Shuffle(a0, a2, 0xEE), Avx.Shuffle(a4, a6, 0xEE), destination + destinationStride, destinationStride);
        Store(Avx.Shuffle(a1, a3, 0x44), Avx.Shuffle(a5, a7, 0x44), destination + 2 * destinationStride, destinationStride);
        Store(Avx.Shuffle(a1, a3, 0xEE), Avx.Shuffle(a5, a7, 0xEE), destination + 3 * destinationStride, destinationStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Row(uint* source, nint row, nint stride) => Vector256.Load((float*)(source + row * stride));

    /// <summary>Columns i and i + 4, whose words of outputs 0 .. 3 and 4 .. 7 are the halves of two vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<float> upper, Vector256<float> lower, uint* destination, nint stride)
    {
        Avx.Permute2x128(upper, lower, 0x20).Store((float*)destination);
        Avx.Permute2x128(upper, lower, 0x31).Store((float*)(destination + 4 * stride));
    }
}
