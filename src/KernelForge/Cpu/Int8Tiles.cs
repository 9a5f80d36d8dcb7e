using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace KernelForge.Cpu;

/// <summary>
/// Rows of x in 8-bit whole numbers, as products of codes read them: x ≈ scale · q with one scale for each 128 of a row, scale = largest magnitude / 127, q = x / scale rounded
/// to nearest even.
/// </summary>
/// <remarks>
/// A tile of R rows is: words of q [word of k][R]; scales [block of 128 k][R] float; sums of −q over each group of weights [group][R] int. A word is four q of 8 bits, or in
/// wide tiles two of 16 bits: for each four k first the even, then the odd ones. A block of zeros has scale 0; one in which something is not finite has scale NaN and q 0,
/// so that all results of that row become NaN.
/// </remarks>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct Int8Tiles<TLanes> where TLanes : struct, ILanes<TLanes>
{
    private const int Block = PackedLayout.Tile, Largest = 127;
    private const float ToWhole = 12_582_912; // 1.5 · 2^23: a sum with it is rounded to a whole number, which its last bits then are

    private readonly DeviceMatrix _x;
    private readonly int* _order;
    private readonly int _blocks, _groupLength, _blockWords;

    /// <param name="x">[rows, k].</param>
    /// <param name="weights">That it is multiplied with; their order is that of k.</param>
    /// <param name="isWide">Whether q have 16 bits.</param>
    public Int8Tiles(in DeviceMatrix x, PackedWeights weights, bool isWide)
    {
        PackedLayout layout = weights.Layout;
        _x = x;
        _order = weights.HasOrder ? (int*)(weights.Buffer.Address + (nint)layout.OrderOffset) : null;
        (_blocks, _groupLength) = (layout.Blocks, layout.Format.GroupSize == 0 ? Block : layout.Format.GroupSize);
        _blockWords = isWide ? Block / 2 : Block / 4;
        RowBytes = (_blocks * (_blockWords + 1 + Block / _groupLength) * sizeof(uint) + PanelLayout.LineBytes - 1) / PanelLayout.LineBytes * PanelLayout.LineBytes;
    }

    /// <summary>Bytes of a packed row.</summary>
    public int RowBytes { get; }

    /// <summary>Words of q of a tile.</summary>
    public int Words(int rows) => _blocks * _blockWords * rows;

    /// <summary>Packs one tile.</summary>
    public void Pack(int firstRow, int rows, byte* packed)
    {
        uint* words = stackalloc uint[RowTiles.Most * Block / 2], q = (uint*)packed;
        float* scales = (float*)(q + Words(rows));
        int* sums = (int*)(scales + _blocks * rows);
        int groups = Block / _groupLength;
        for (int block = 0; block < _blocks; block++, q += _blockWords * rows)
        {
            for (int row = 0; row < rows; row++)
                scales[block * rows + row] = Quantize(firstRow + row, block * Block, words + row * _blockWords, sums + block * groups * rows + row, rows);
            WordTiles.Interleave(rows, words, _blockWords, _blockWords, q);
        }
    }

    /// <summary>Writes the words and sums of one row of a block, and gives its scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private float Quantize(int row, int start, uint* words, int* sums, int sumStride)
    {
        float* values = stackalloc float[Block];
        Read(row, start, values);
        TLanes zero = TLanes.Fill(0), largest = zero, special = zero;
        for (int i = 0; i < Block; i += Lanes.Count)
        {
            TLanes value = TLanes.Load(values + i);
            largest = TLanes.Max(largest, TLanes.Max(value, zero - value));
            special = TLanes.FusedMultiplyAdd(value, zero, special); // NaN once something is not finite
        }
        float scale = float.IsNaN(TLanes.Sum(special)) ? float.NaN : TLanes.Largest(largest) / Largest;
        TLanes divisor = TLanes.Fill(scale), most = TLanes.Fill(Largest), toWhole = TLanes.Fill(ToWhole);
        for (int i = 0; i < Block; i += _groupLength, sums += sumStride)
        {
            TLanes sum = zero;
            for (int j = i; j < i + _groupLength; j += Lanes.Count)
            {
                TLanes q = scale > 0 ? TLanes.Max(TLanes.Min(TLanes.Load(values + j) / divisor, most), zero - most) + toWhole : toWhole;
                TLanes.Store(q, values + j);
                sum += q - toWhole;
            }
            *sums = -(int)TLanes.Sum(sum);
        }
        if (_blockWords == Block / 4) PackBytes((uint*)values, words);
        else PackPairs((uint*)values, words);
        return scale;
    }

    /// <summary>The elements of a block; zero behind k.</summary>
    private void Read(int row, int start, float* values)
    {
        nint address = _x.RowAddress(row);
        int count = Math.Min(Block, _x.Columns - start);
        if (_order == null) Elements.ToF32<TLanes>(address + (nint)start * _x.DType.Size(), _x.DType, values, count);
        else
            for (int i = 0; i < count; i++) values[i] = Elements.One(address, _x.DType, _order[start + i]);
        new Span<float>(values + count, Block - count).Clear();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PackBytes(uint* q, uint* words)
    {
        for (int i = 0; i < Block; i += 16, words += 4)
        {
            Vector128<ushort> low = Vector128.Narrow(Vector128.Load(q + i), Vector128.Load(q + i + 4)), high = Vector128.Narrow(Vector128.Load(q + i + 8), Vector128.Load(q + i + 12));
            Vector128.Narrow(low, high).AsUInt32().Store(words);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PackPairs(uint* q, uint* words)
    {
        for (int i = 0; i < Block; i += 4, words += 2)
        {
            Vector128<uint> four = Vector128.Load(q + i) & Vector128.Create(0xFFFFu);
            (four | (Vector128.Shuffle(four, Vector128.Create(2u, 3, 2, 3)) << 16)).GetLower().Store(words);
        }
    }
}
