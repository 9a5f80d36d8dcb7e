using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Rows of x as products in F32 read them: tile after tile, [k][rows of the tile], k filled up with zeros.</summary>
/// <param name="x">[rows, k].</param>
/// <param name="activations">What they are rounded to.</param>
/// <param name="multiple">That k is filled up to: 16, or a multiple of it that divides 256.</param>
/// <param name="order">Which element of x each k takes; null for their own order.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct FloatTiles<TLanes>(DeviceMatrix x, ActivationPrecision activations, int multiple = Lanes.Count, int* order = null)
    where TLanes : struct, ILanes<TLanes>
{
    private const int PieceLength = 256;

    private readonly int _paddedK = RoundUp(x.Columns, multiple);

    /// <summary>Bytes of so many packed rows.</summary>
    public long PackedBytes(int rows) => (long)rows * _paddedK * sizeof(float);

    /// <summary>Packs one tile.</summary>
    public void Pack(int firstRow, int rows, float* packed)
    {
        float* pieces = stackalloc float[RowTiles.Most * PieceLength];
        for (int start = 0; start < x.Columns; start += PieceLength, packed += rows * PieceLength)
        {
            int length = Math.Min(PieceLength, x.Columns - start), padded = RoundUp(length, multiple);
            for (int row = 0; row < rows; row++)
            {
                float* piece = rows == 1 ? packed : pieces + row * PieceLength;
                Read(firstRow + row, start, length, piece);
                new Span<float>(piece + length, padded - length).Clear();
                if (activations == ActivationPrecision.BF16 && x.DType != DType.BF16) RoundToBF16(piece, padded);
            }
            if (rows == 2) InterleaveTwo(pieces, padded, packed);
            else if (rows == 4) InterleaveFour(pieces, padded, packed);
        }
    }

    private static int RoundUp(int length, int multiple) => (length + multiple - 1) / multiple * multiple;

    private void Read(int row, int start, int length, float* piece)
    {
        nint address = x.RowAddress(row);
        if (order == null) Elements.ToF32<TLanes>(address + (nint)start * x.DType.Size(), x.DType, piece, length);
        else
            for (int i = 0; i < length; i++) piece[i] = Elements.One(address, x.DType, order[start + i]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void RoundToBF16(float* values, int length)
    {
        BFloat16* rounded = stackalloc BFloat16[Lanes.Count];
        for (int i = 0; i < length; i += Lanes.Count)
        {
            TLanes.Store(TLanes.Load(values + i), rounded);
            TLanes.Store(TLanes.Load(rounded), values + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void InterleaveTwo(float* pieces, int length, float* packed)
    {
        for (int k = 0; k < length; k++, packed += 2) (packed[0], packed[1]) = (pieces[k], pieces[PieceLength + k]);
    }

    /// <summary>Eight elements of each row at a time where there are the instructions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void InterleaveFour(float* pieces, int length, float* packed)
    {
        int k = 0;
        for (; Avx.IsSupported && k < length; k += 8, packed += 32)
        {
            float* at = pieces + k;
            Vector256<float> a = Vector256.Load(at), b = Vector256.Load(at + PieceLength);
            Vector256<float> c = Vector256.Load(at + 2 * PieceLength), d = Vector256.Load(at + 3 * PieceLength);
            Vector256<float> low01 = Avx.UnpackLow(a, b), low23 = Avx.UnpackLow(c, d), high01 = Avx.UnpackHigh(a, b), high23 = Avx.UnpackHigh(c, d);
            Vector256<float> k04 = Avx.Shuffle(low01, low23, 0x44), k15 = Avx.Shuffle(low01, low23, 0xEE);
            Vector256<float> k26 = Avx.Shuffle(high01, high23, 0x44), k37 = Avx.Shuffle(high01, high23, 0xEE);
            Avx.Permute2x128(k04, k15, 0x20).Store(packed);
            Avx.Permute2x128(k26, k37, 0x20).Store(packed + 8);
            Avx.Permute2x128(k04, k15, 0x31).Store(packed + 16);
            Avx.Permute2x128(k26, k37, 0x31).Store(packed + 24);
        }
        for (; k < length; k++, packed += 4)
            for (int row = 0; row < 4; row++) packed[row] = pieces[row * PieceLength + k];
    }
}
