using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>
/// A matrix product cut into blocks of rows by panels of <see cref="IMatMulTile.Columns"/> weight rows. A thread takes a run of panels.
/// It holds its rows of x as F32 in scratch, sized for the second-level cache, and passes them by one panel after the other, which stays in the first level.
/// Weights are read where they lie, except incomplete panels and steps, which are filled up with zeros, and F16 for many rows.
/// </summary>
/// <typeparam name="TLanes">Reads x, writes the result.</typeparam>
/// <typeparam name="TTile">The inner loop.</typeparam>
/// <typeparam name="T">Element of the weights.</typeparam>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct MatMulWork<TLanes, TTile, T> : IParallelWork
    where TLanes : struct, ILanes<TLanes> where TTile : struct, IMatMulTile where T : unmanaged
{
    private const int BlockBytes = 512 * 1024;
    private const int MaxBlockRows = 256;
    private const int StripPanels = 4;
    private const int StripColumns = StripPanels * IMatMulTile.Columns;

    private readonly CpuThreads _threads;
    private readonly DeviceMatrix _x;
    private readonly Epilogue<TLanes> _epilogue;
    private readonly T* _weights;
    private readonly nint _weightStride;
    private readonly int _rows, _columns, _k, _paddedK, _blockRows, _panels;

    public MatMulWork(CpuThreads threads, in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias,
        in DeviceMatrix residual)
    {
        _threads = threads;
        _x = x;
        _epilogue = new Epilogue<TLanes>(result, bias, residual);
        _weights = (T*)weights.Address;
        _weightStride = weights.RowStride;
        (_rows, _columns, _k) = (x.Rows, weights.Rows, x.Columns);
        _paddedK = Lanes.Padded(_k);
        _panels = CeilDiv(_columns, IMatMulTile.Columns);

        int mostRows = Math.Clamp(BlockBytes / sizeof(float) / Math.Max(_paddedK, 1), 4 * TTile.Rows, MaxBlockRows);
        _blockRows = RoundUp(CeilDiv(_rows, CeilDiv(_rows, mostRows)), TTile.Rows); // blocks of nearly the same size
    }

    /// <summary>Pieces that can be done apart.</summary>
    public long Units => (long)CeilDiv(_rows, _blockRows) * _panels;

    public void Run(int part, int parts)
    {
        nint packedX = (nint)_blockRows * _paddedK;
        int packedWeights = IMatMulTile.Columns * IMatMulTile.Chunk, totals = _blockRows * StripColumns;
        float* scratch = (float*)_threads.Scratch(part, (packedX + packedWeights + totals + StripColumns) * sizeof(float));
        var buffers = new Buffers(scratch, scratch + packedX, scratch + packedX + packedWeights, scratch + packedX + packedWeights + totals);

        long end = Units * (part + 1) / parts;
        for (long unit = Units * part / parts; unit < end;)
        {
            (long block, long panel) = Math.DivRem(unit, _panels);
            int count = (int)Math.Min(_panels - panel, end - unit);
            RunBlock((int)block * _blockRows, (int)panel, count, buffers);
            unit += count;
        }
    }

    private void RunBlock(int firstRow, int firstPanel, int panelCount, in Buffers buffers)
    {
        int count = Math.Min(_blockRows, _rows - firstRow);
        PackX(firstRow, count, buffers.X);
        for (int strip = 0; strip < panelCount; strip += StripPanels)
        {
            int stripPanels = Math.Min(StripPanels, panelCount - strip);
            int firstColumn = (firstPanel + strip) * IMatMulTile.Columns;
            for (int panel = 0; panel < stripPanels; panel++)
                RunPanel(count, firstColumn + panel * IMatMulTile.Columns, buffers, buffers.Totals + panel * IMatMulTile.Columns);
            Finish(firstRow, count, firstColumn, Math.Min(stripPanels * IMatMulTile.Columns, _columns - firstColumn), buffers);
        }
    }

    /// <summary>Rows of x as F32, one chunk of k of all rows after the other, k filled up with zeros to whole steps.</summary>
    private void PackX(int firstRow, int count, float* packed)
    {
        int size = _x.DType.Size();
        for (int start = 0; start < _k; start += IMatMulTile.Chunk)
        {
            int length = Math.Min(IMatMulTile.Chunk, _k - start), padded = Lanes.Padded(length);
            for (int row = 0; row < count; row++, packed += padded)
                Elements.ToF32<TLanes>(_x.RowAddress(firstRow + row) + (nint)start * size, _x.DType, packed, length);
        }
    }

    private void RunPanel(int count, int firstColumn, in Buffers buffers, float* totals)
    {
        if (_k == 0)
        {
            for (int row = 0; row < count; row++) new Span<float>(totals + row * StripColumns, IMatMulTile.Columns).Clear();
            return;
        }

        float* packedX = buffers.X;
        for (int start = 0; start < _k; start += IMatMulTile.Chunk)
        {
            int length = Math.Min(IMatMulTile.Chunk, _k - start), padded = Lanes.Padded(length);
            T* source = _weights + firstColumn * _weightStride + start;
            bool isWhole = length == padded && firstColumn + IMatMulTile.Columns <= _columns;
            bool costsMoreToWiden = typeof(T) == typeof(Half) && count > TTile.Rows; // seven instructions; BF16 takes two, which is less than to store it
            if (isWhole && !costsMoreToWiden)
            {
                AddChunk(count, packedX, source, _weightStride, padded, totals, isFirst: start == 0);
            }
            else
            {
                PackPanel(source, Math.Min(IMatMulTile.Columns, _columns - firstColumn), length, padded, buffers.Weights);
                AddChunk(count, packedX, buffers.Weights, padded, padded, totals, isFirst: start == 0);
            }
            packedX += (nint)count * padded;
        }
    }

    private static void AddChunk<TWeight>(int count, float* packedX, TWeight* panel, nint stride, int length, float* totals, bool isFirst)
        where TWeight : unmanaged
    {
        for (int row = 0; row < count; row += TTile.Rows)
            TTile.AddChunk(Math.Min(TTile.Rows, count - row), packedX + (nint)row * length, panel, stride, length,
                totals + row * StripColumns, StripColumns, isFirst);
    }

    private void PackPanel(T* source, int count, int length, int padded, float* packed)
    {
        for (int row = 0; row < count; row++, packed += padded)
            Elements.ToF32<TLanes, T>(source + row * _weightStride, packed, length);
        new Span<float>(packed, (IMatMulTile.Columns - count) * padded).Clear();
    }

    private void Finish(int firstRow, int count, int firstColumn, int columnCount, in Buffers buffers)
    {
        if (_epilogue.HasBias) _epilogue.LoadBias(firstColumn, columnCount, buffers.Bias);
        for (int row = 0; row < count; row++)
            _epilogue.Store(firstRow + row, firstColumn, columnCount, buffers.Totals + row * StripColumns, null, buffers.Bias, null);
    }

    private static int CeilDiv(int value, int divisor) => (value + divisor - 1) / divisor;

    private static int RoundUp(int value, int multiple) => CeilDiv(value, multiple) * multiple;

    /// <summary>A thread's scratch: x of a block, a panel of weights, totals [block rows, strip columns], bias of a strip.</summary>
    private readonly struct Buffers(float* x, float* weights, float* totals, float* bias)
    {
        public float* X { get; } = x;
        public float* Weights { get; } = weights;
        public float* Totals { get; } = totals;
        public float* Bias { get; } = bias;
    }
}
