using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace KernelForge.Cpu;

/// <summary>
/// A product with packed weights cut into blocks of rows by sixteens of outputs. A thread takes a run of sixteens. It holds its rows of x as F32 in scratch, in
/// the order in which the weights lie, and walks k in chunks, so that a chunk of x stays in the first-level cache while the weights of a tile pass by.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct PackedMatMulWork<TLanes, TCodes> : IParallelWork where TLanes : struct, ILanes<TLanes> where TCodes : struct, IPackedCodes
{
    /// <summary>Blocks of 128 k after which the same x is used for the next outputs: so much of eight rows stays in the first-level cache.</summary>
    private const int ChunkBlocks = 4;

    /// <summary>So few rows wait for weights, which are then read in the order in which they lie.</summary>
    private const int FewRows = 2;

    private const int Sixteen = 16;
    private const int TileSixteens = PackedLayout.Tile / Sixteen;
    private const int MaxTileRows = 8;
    private const int BlockBytes = 512 * 1024;
    private const int MaxBlockRows = 256;

    private readonly CpuThreads _threads;
    private readonly DeviceMatrix _x;
    private readonly Epilogue<TLanes> _epilogue;
    private readonly PackedLayout _layout;
    private readonly bool _isGated;
    private readonly byte* _codes, _zeros;
    private readonly float* _scales;
    private readonly int* _order;
    private readonly int _rows, _paddedK, _blockRows, _sixteens;

    public PackedMatMulWork(CpuThreads threads, in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias,
        in DeviceMatrix residual)
    {
        _threads = threads;
        _x = x;
        _epilogue = new Epilogue<TLanes>(result, bias, residual);
        _layout = weights.Layout;
        _isGated = weights.IsGated;
        _codes = (byte*)weights.Buffer.Address;
        _scales = (float*)(_codes + _layout.ScalesOffset);
        _zeros = _codes + _layout.ZerosOffset;
        _order = weights.HasOrder ? (int*)(_codes + _layout.OrderOffset) : null;
        _rows = x.Rows;
        _paddedK = _layout.Blocks * PackedLayout.Tile;
        _sixteens = CeilDiv(weights.N, Sixteen);

        int mostRows = Math.Clamp(BlockBytes / sizeof(float) / _paddedK, 4 * MaxTileRows, MaxBlockRows);
        int blocks = CeilDiv(_rows, mostRows);
        _blockRows = blocks == 1 ? _rows : CeilDiv(CeilDiv(_rows, blocks), MaxTileRows) * MaxTileRows; // of nearly the same size
    }

    /// <summary>Pieces that can be done apart.</summary>
    public long Units => (long)CeilDiv(_rows, _blockRows) * _sixteens;

    public void Run(int part, int parts)
    {
        long x = (long)(_blockRows + 1) * _paddedK, totals = PackedLayout.Tile * MaxTileRows * Lanes.Count, sums = MaxTileRows * PackedLayout.Tile;
        float* scratch = (float*)_threads.Scratch(part, (x + totals + sums + PackedLayout.Tile) * sizeof(float));
        var buffers = new Buffers(scratch, scratch + x, scratch + x + totals, scratch + x + totals + sums);

        long end = Units * (part + 1) / parts;
        for (long unit = Units * part / parts; unit < end;)
        {
            (long block, long sixteen) = Math.DivRem(unit, _sixteens);
            int count = (int)Math.Min(_sixteens - sixteen, end - unit);
            RunBlock((int)block * _blockRows, (int)sixteen, count, buffers);
            unit += count;
        }
    }

    private void RunBlock(int firstRow, int firstSixteen, int count, in Buffers buffers)
    {
        int rows = Math.Min(_blockRows, _rows - firstRow);
        PackX(firstRow, rows, buffers.X);
        for (int sixteen = firstSixteen, end = firstSixteen + count; sixteen < end;)
        {
            int strip = Math.Min(TileSixteens - sixteen % TileSixteens, end - sixteen);
            LoadBias(sixteen, strip, buffers.Bias);
            for (int row = 0; row < rows;)
            {
                int tileRows = PackedTile<TLanes, TCodes>.Rows(rows - row);
                AddProducts(tileRows, sixteen, strip, buffers.X + (nint)row * _paddedK, buffers.Totals);
                Finish(firstRow + row, Math.Min(tileRows, rows - row), tileRows, sixteen, strip, buffers);
                row += tileRows;
            }
            sixteen += strip;
        }
    }

    /// <summary>Rows of x as the tiles read them: [rows of a tile at a time][steps][rows of the tile][16], zero behind k and where a row is missing.</summary>
    private void PackX(int firstRow, int rows, float* packed)
    {
        for (int row = 0; row < rows;)
        {
            int tileRows = PackedTile<TLanes, TCodes>.Rows(rows - row);
            for (int r = 0; r < tileRows; r++)
                PackRow(row + r < rows ? _x.RowAddress(firstRow + row + r) : 0, packed + r * Lanes.Count, tileRows * Lanes.Count);
            packed += (nint)tileRows * _paddedK;
            row += tileRows;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private void PackRow(nint row, float* packed, int stride)
    {
        float* line = stackalloc float[TCodes.LineK];
        for (int first = 0; first < _paddedK; first += TCodes.LineK)
        {
            int count = row == 0 ? 0 : Math.Clamp(_layout.K - first, 0, TCodes.LineK);
            if (_order == null) Elements.ToF32<TLanes>(row + (nint)first * _x.DType.Size(), _x.DType, line, count);
            for (int i = 0; _order != null && i < count; i++) line[i] = Elements.One(row, _x.DType, _order[first + i]);
            new Span<float>(line + count, TCodes.LineK - count).Clear();
            for (int step = 0; step < TCodes.Steps; step++, packed += stride)
                for (int c = 0; c < 4; c++)
                {
                    float* k = line + TCodes.Offset(step) + 2 * c;
                    Vector128.Create(k[0], k[TCodes.LineK / 4], k[TCodes.LineK / 2], k[TCodes.LineK / 4 * 3]).Store(packed + 4 * c);
                }
        }
    }

    /// <summary>Totals of some rows and some sixteens of a tile, over all of k: [outputs][rows][16 lanes].</summary>
    private void AddProducts(int tileRows, int firstSixteen, int count, float* x, float* totals)
    {
        new Span<float>(totals, count * Sixteen * tileRows * Lanes.Count).Clear();
        int step = tileRows <= FewRows ? 1 : ChunkBlocks;
        for (int block = 0; block < _layout.Blocks; block += step)
        {
            PackedRun run = RunOf(firstSixteen, count, block, Math.Min(step, _layout.Blocks - block));
            PackedTile<TLanes, TCodes>.Add(tileRows, run, x + (nint)block * PackedLayout.Tile * tileRows, totals);
        }
    }

    /// <summary>Some sixteens of a tile over some blocks of k.</summary>
    private PackedRun RunOf(int firstSixteen, int count, int block, int blocks)
    {
        (int tile, int inTile) = Math.DivRem(firstSixteen, TileSixteens);
        bool isPerOutput = _layout.Format.GroupSize == 0;
        int groupSize = isPerOutput ? PackedLayout.Tile : _layout.Format.GroupSize;
        int pieceGroups = Math.Max(1, TCodes.LineK / groupSize), pieceLines = pieceGroups * groupSize / TCodes.LineK;
        int group = isPerOutput ? 0 : block * (PackedLayout.Tile / groupSize);
        long scale = ((long)tile * _layout.Groups + group) * PackedLayout.Tile + inTile * Sixteen;
        return new PackedRun
        {
            Pairs = count * Sixteen / 2,
            Codes = _codes + ((long)tile * _layout.Blocks + block) * _layout.BlockBytes + inTile * (_layout.BlockBytes / TileSixteens),
            BlockBytes = _layout.BlockBytes,
            Pieces = blocks * PackedLayout.Tile / (pieceGroups * groupSize),
            PieceLines = pieceLines,
            Scales = _scales + scale,
            Zeros = _zeros + scale,
            PieceStride = isPerOutput ? 0 : pieceGroups * PackedLayout.Tile,
            HalfStride = pieceGroups == 1 ? 0 : PackedLayout.Tile,
        };
    }

    private void LoadBias(int sixteen, int count, float* bias)
    {
        if (!_epilogue.HasBias) return;
        (int column, int columns) = Columns(sixteen, count);
        _epilogue.LoadBias(column, columns, bias);
        if (_isGated) _epilogue.LoadBias(_layout.N / 2 + column, columns, bias + PackedLayout.Tile / 2);
    }

    /// <summary>Adds the lanes up, and stores the rows that exist. Gates come to lie before the up projection.</summary>
    private void Finish(int firstRow, int rows, int tileRows, int firstSixteen, int count, in Buffers buffers)
    {
        (int column, int columns) = Columns(firstSixteen, count);
        float* both = stackalloc float[Sixteen];
        for (int row = 0; row < rows; row++)
        {
            float* sums = buffers.Sums + row * PackedLayout.Tile, ups = _isGated ? sums + PackedLayout.Tile / 2 : null;
            for (int i = 0; i < count; i++)
            {
                TLanes sixteen = AddLanes(buffers.Totals + ((nint)i * Sixteen * tileRows + row) * Lanes.Count, tileRows * Lanes.Count);
                TLanes.Store(sixteen, _isGated ? both : sums + i * Sixteen);
                if (!_isGated) continue;
                new Span<float>(both, 8).CopyTo(new Span<float>(sums + i * 8, 8));
                new Span<float>(both + 8, 8).CopyTo(new Span<float>(ups + i * 8, 8));
            }
            _epilogue.Store(firstRow + row, column, columns, sums, ups, buffers.Bias, buffers.Bias + PackedLayout.Tile / 2);
        }
    }

    /// <summary>Sums of the lanes of sixteen outputs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static TLanes AddLanes(float* totals, nint stride)
    {
        return TLanes.FinishSums(Half(totals), Half(totals + stride), Half(totals + 2 * stride), Half(totals + 3 * stride));

        TLanes Half(float* output) => TLanes.HalfSums(
            TLanes.Load(output), TLanes.Load(output + 4 * stride), TLanes.Load(output + 8 * stride), TLanes.Load(output + 12 * stride));
    }

    /// <summary>Columns of the result, or of its gates, that some sixteens of outputs make.</summary>
    private (int First, int Count) Columns(int sixteen, int count)
    {
        (int width, int n) = _isGated ? (Sixteen / 2, _layout.N / 2) : (Sixteen, _layout.N);
        return (sixteen * width, Math.Min(count * width, n - sixteen * width));
    }

    private static int CeilDiv(int value, int divisor) => (value + divisor - 1) / divisor;

    /// <summary>A thread's scratch: x of a block, totals [outputs of a tile][rows][16 lanes], sums [rows][outputs], bias of the outputs.</summary>
    private readonly struct Buffers(float* x, float* totals, float* sums, float* bias)
    {
        public float* X { get; } = x;
        public float* Totals { get; } = totals;
        public float* Sums { get; } = sums;
        public float* Bias { get; } = bias;
    }
}
