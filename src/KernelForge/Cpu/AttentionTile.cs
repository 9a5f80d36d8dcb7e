using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// Keys and values of one tile of positions for one key/value head, as rows need them: keys turned, so that positions lie in lanes, and in F32; values as
/// addresses of rows of padded length, in F32 where many rows use them, else as they are.
/// </summary>
/// <param name="source">Where keys and values lie.</param>
/// <param name="kvHead">Whose.</param>
/// <param name="rows">Rows that use the tile.</param>
/// <param name="memory">Of the owner: <see cref="Length"/> numbers, aligned to 64 bytes.</param>
internal readonly unsafe struct AttentionTile<TLanes>(KvSource source, int kvHead, int rows, float* memory) where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRowMemory.TileSize;

    /// <summary>Bytes of a row that <see cref="ILanes{TSelf}.Transpose"/> takes at a time.</summary>
    private const int StepBytes = 16;

    /// <summary>Addresses in units of the memory's numbers.</summary>
    private const int AddressLength = TileSize * sizeof(ulong) / sizeof(float);

    /// <summary>Bytes that come from memory together.</summary>
    private const int CacheLine = 64;

    // Memory: addresses of keys | addresses of values | ends of sixteen keys | keys | copies of values.
    private const int EndsAt = 2 * AddressLength, KeysAt = EndsAt + Lanes.Count * StepBytes / sizeof(float);

    private readonly int _paddedDim = Lanes.Padded(source.HeadDim);

    /// <summary>[<see cref="KeyDim"/>, 64].</summary>
    public float* Keys => memory + KeysAt;

    /// <summary>Elements of a key, padded with zeros to whole pairs.</summary>
    public int KeyDim => (source.HeadDim + 1) / 2 * 2;

    /// <summary>64 addresses; only those of positions that were loaded are set.</summary>
    public nint* Values => (nint*)(memory + AddressLength);

    /// <summary>What values are to be read as.</summary>
    public DType ValueType => CopiesValues ? DType.F32 : source.Values.DType;

    private nint* KeyRows => (nint*)memory;

    private float* ValueCopies => Keys + (nint)_paddedDim * TileSize;

    private bool CopiesValues => source.HeadDim != _paddedDim || rows > MostRowsInPlace(source.Values.DType);

    /// <summary>Numbers of memory that a tile takes.</summary>
    public static int Length(int paddedDim) => KeysAt + 2 * TileSize * paddedDim;

    /// <summary>Makes the positions first .. end - 1 (at least one) of the tile that starts at a position available. Nothing else is read.</summary>
    /// <param name="blocks">Block ids.</param>
    /// <param name="start">Where the tile starts.</param>
    /// <param name="first">Position.</param>
    /// <param name="end">Position behind the last one.</param>
    /// <param name="last">Positions behind this tile and before this one are needed next: those of one tile are fetched from memory meanwhile.</param>
    public void Load(ReadOnlySpan<int> blocks, int start, int first, int end, int last)
    {
        int run;
        for (int position = first; position < end; position += run)
        {
            (int index, int offset) = Math.DivRem(position, source.BlockSize);
            run = Math.Min(source.BlockSize - offset, end - position);
            int j = position - start, block = blocks[index];
            SetAddresses(source.Keys.Row(kvHead, block, offset), source.Keys.RowBytes, run, KeyRows + j);
            nint values = source.Values.Row(kvHead, block, offset);
            if (CopiesValues) values = CopyValues(values, run, ValueCopies + (nint)j * _paddedDim);
            SetAddresses(values, CopiesValues ? (nint)_paddedDim * sizeof(float) : source.Values.RowBytes, run, Values + j);
        }

        LoadKeys(blocks, start, first - start, end - start, last);
    }

    /// <summary>Rows up to which values are widened as often as they are used: many of BF16, which is little work, where four rows use them at once.</summary>
    private static int MostRowsInPlace(DType type) => type == DType.F32 ? int.MaxValue : type == DType.BF16 && TLanes.HasManyRegisters ? 32 : 4;

    private static void SetAddresses(nint row, nint rowBytes, int rows, nint* addresses)
    {
        for (int i = 0; i < rows; i++) addresses[i] = row + i * rowBytes;
    }

    private nint CopyValues(nint values, int rows, float* copies)
    {
        if (source.HeadDim == _paddedDim && source.Values.RowBytes == (nint)source.HeadDim * source.Values.DType.Size())
        {
            Elements.ToF32<TLanes>(values, source.Values.DType, copies, rows * source.HeadDim);
        }
        else
        {
            for (int row = 0; row < rows; row++)
                Elements.ToF32<TLanes>(values + row * source.Values.RowBytes, source.Values.DType, copies + (nint)row * _paddedDim, source.HeadDim);
        }
        return (nint)copies;
    }

    /// <summary>Whole vectors of positions; what lies outside of first .. end - 1 repeats a key that was loaded.</summary>
    private void LoadKeys(ReadOnlySpan<int> blocks, int tileStart, int first, int end, int last)
    {
        nint* keys = KeyRows;
        int start = first / Lanes.Count * Lanes.Count, stop = Lanes.Padded(end);
        for (int j = start; j < first; j++) keys[j] = keys[first];
        for (int j = end; j < stop; j++) keys[j] = keys[first];
        for (int j = start; j < stop; j += Lanes.Count)
        {
            if (source.Keys.DType == DType.F32) Turn((float**)(keys + j), Keys + j);
            else if (source.Keys.DType == DType.F16) Turn((Half**)(keys + j), Keys + j);
            else Turn((BFloat16**)(keys + j), Keys + j);
            int next = tileStart + TileSize + j;
            Fetch(blocks, next, Math.Min(next + Lanes.Count, last));
        }
    }

    /// <summary>Starts to bring keys and values of the positions first .. end - 1 into the cache.</summary>
    private void Fetch(ReadOnlySpan<int> blocks, int first, int end)
    {
        if (!Sse.IsSupported) return;
        int run;
        for (int position = first; position < end; position += run)
        {
            (int index, int offset) = Math.DivRem(position, source.BlockSize);
            run = Math.Min(source.BlockSize - offset, end - position);
            int block = blocks[index];
            Fetch(source.Keys.Row(kvHead, block, offset), source.Keys.RowBytes, run, source.HeadDim * source.Keys.DType.Size());
            Fetch(source.Values.Row(kvHead, block, offset), source.Values.RowBytes, run, source.HeadDim * source.Values.DType.Size());
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Fetch(nint row, nint rowBytes, int rows, nint bytes)
    {
        for (int i = 0; i < rows; i++, row += rowBytes)
            for (nint at = 0; at < bytes; at += CacheLine) Sse.Prefetch1((void*)(row + at));
    }

    /// <summary>Sixteen keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private void Turn<T>(T** rows, float* destination) where T : unmanaged
    {
        int step = StepBytes / sizeof(T), whole = source.HeadDim / step * step;
        for (int i = 0; i < whole; i += step) TLanes.Transpose(rows, i, destination + (nint)i * TileSize, TileSize);
        if (whole == source.HeadDim) return;

        byte* ends = (byte*)(memory + EndsAt);
        T** endRows = stackalloc T*[Lanes.Count];
        new Span<byte>(ends, Lanes.Count * StepBytes).Clear();
        for (int row = 0; row < Lanes.Count; row++, ends += StepBytes)
        {
            endRows[row] = (T*)ends;
            for (int i = whole; i < source.HeadDim; i++) endRows[row][i - whole] = rows[row][i];
        }
        TLanes.Transpose(endRows, 0, destination + (nint)whole * TileSize, TileSize);
    }
}
