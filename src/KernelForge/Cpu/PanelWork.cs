using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>
/// A product with weights in panels, cut over the threads: rows of x are packed tile by tile, a block of them at a time; then each part multiplies its panels,
/// strip by strip, with all rows of the block, and stores. Few rows are packed by every part for itself, which costs less than another dispatch.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal unsafe struct PanelWork<TLanes, TProduct> : IParallelWork where TLanes : struct, ILanes<TLanes> where TProduct : struct, IPanelProduct
{
    private const int FewRows = RowTiles.Most;
    private const int MaxBlockRows = 512;
    private const long BlockBytes = 2 << 20; // of packed rows: what a cache shared by the cores holds beside weights

    private readonly CpuThreads _threads;
    private readonly TProduct _product;
    private readonly Epilogue<TLanes> _epilogue;
    private readonly int _rows, _n, _parts;
    private readonly bool _isGated;

    private int _firstRow, _blockRows; // of the running block
    private byte* _packed; // its rows; null where each part has its own
    private bool _isPacking;

    /// <param name="threads">That do the work.</param>
    /// <param name="product">What packs x and multiplies.</param>
    /// <param name="rows">Of x, at least 1.</param>
    /// <param name="n">Outputs of the weights; gates and ups of gated ones.</param>
    /// <param name="isGated">Whether a panel has 8 gates and 8 ups.</param>
    /// <param name="epilogue">What follows the sums.</param>
    /// <param name="parts">Threads that the product pays for, at most.</param>
    public PanelWork(CpuThreads threads, in TProduct product, int rows, int n, bool isGated, in Epilogue<TLanes> epilogue, int parts)
    {
        (_threads, _product, _epilogue, _rows, _n, _isGated) = (threads, product, epilogue, rows, n, isGated);
        _parts = Math.Clamp(parts, 1, Math.Min(threads.Count, PanelLayout.Panels(n)));
    }

    /// <summary>Computes the product.</summary>
    public void Run()
    {
        using Lock.Scope hold = _threads.Hold(); // what one run packs, the next reads
        long rowBytes = Math.Max(_product.PackedBytes(RowTiles.Most) / RowTiles.Most, 1);
        int most = (int)Math.Clamp(BlockBytes / rowBytes / RowTiles.Most * RowTiles.Most, 4 * RowTiles.Most, MaxBlockRows);
        int blocks = CeilDiv(_rows, most), rows = CeilDiv(CeilDiv(_rows, blocks), RowTiles.Most) * RowTiles.Most; // of nearly the same size
        for (_firstRow = 0; _firstRow < _rows; _firstRow += rows)
        {
            _blockRows = Math.Min(rows, _rows - _firstRow);
            PackBlock();
            _threads.Run(ref this, _parts);
        }
    }

    public void Run(int part, int parts)
    {
        if (_isPacking) PackTiles(part, parts, _packed);
        else Multiply(part, parts);
    }

    private void PackBlock()
    {
        _packed = null;
        if (_blockRows <= FewRows) return;
        _packed = _threads.Shared(_product.PackedBytes(_blockRows));
        _isPacking = true;
        _threads.Run(ref this, _parts);
        _isPacking = false;
    }

    private readonly void PackTiles(int part, int parts, byte* packed)
    {
        long tileBytes = _product.PackedBytes(RowTiles.Most);
        RowRange tiles = RowRange.Of(CeilDiv(_blockRows, RowTiles.Most), part, parts);
        for (int tile = tiles.Start; tile < tiles.End; tile++)
        {
            byte* at = packed + tile * tileBytes;
            for (int row = tile * RowTiles.Most, end = Math.Min(row + RowTiles.Most, _blockRows); row < end;)
            {
                int rows = RowTiles.Next(end - row);
                _product.PackTile(_firstRow + row, rows, at);
                at += _product.PackedBytes(rows);
                row += rows;
            }
        }
    }

    private readonly void Multiply(int part, int parts)
    {
        int stride = _product.MaxPanels * PanelLayout.Panel;
        long own = _packed == null ? _product.PackedBytes(_blockRows) : 0, sums = (long)_blockRows * stride * sizeof(float), line = stride * sizeof(float);
        byte* scratch = (byte*)_threads.Scratch(part, own + sums + 3 * line + _product.ScratchBytes(_blockRows));
        var buffers = new Buffers((float*)(scratch + own), (float*)(scratch + own + sums), (float*)(scratch + own + sums + line), stride);
        byte* packed = _packed, forProduct = scratch + own + sums + 3 * line;
        if (packed == null) PackTiles(0, 1, packed = scratch);

        RowRange range = Panels.Part(PanelLayout.Panels(_n), part, parts);
        for (int panel = range.Start; panel < range.End; panel += _product.MaxPanels)
        {
            int panels = Math.Min(_product.MaxPanels, range.End - panel);
            _product.Multiply(_blockRows, packed, panel, panels, buffers.Sums, stride, forProduct);
            Store(panel, panels, buffers);
        }
    }

    private readonly void Store(int panel, int panels, in Buffers buffers)
    {
        int width = _isGated ? PanelLayout.Panel / 2 : PanelLayout.Panel, columns = _isGated ? _n / 2 : _n;
        int column = panel * width, count = Math.Min(panels * width, columns - column);
        float* upBiases = buffers.Biases + buffers.Stride / 2;
        if (_epilogue.HasBias) _epilogue.LoadBias(column, count, buffers.Biases);
        if (_epilogue.HasBias && _isGated) _epilogue.LoadBias(columns + column, count, upBiases);
        for (int row = 0; row < _blockRows; row++)
        {
            float* sums = buffers.Sums + (nint)row * buffers.Stride;
            if (_isGated) sums = Part(sums, panels, buffers.Apart, buffers.Stride / 2);
            _epilogue.Store(_firstRow + row, column, count, sums, _isGated ? sums + buffers.Stride / 2 : null, buffers.Biases, upBiases);
        }
    }

    /// <summary>The gates of some panels, and their ups from <paramref name="half"/> on.</summary>
    private static float* Part(float* sums, int panels, float* apart, int half)
    {
        for (int i = 0; i < panels; i++)
        {
            new Span<float>(sums + i * 16, 8).CopyTo(new Span<float>(apart + i * 8, 8));
            new Span<float>(sums + i * 16 + 8, 8).CopyTo(new Span<float>(apart + half + i * 8, 8));
        }
        return apart;
    }

    private static int CeilDiv(int value, int divisor) => (value + divisor - 1) / divisor;

    /// <summary>A thread's scratch: sums [rows, stride], one row's gates and ups, biases [stride], or of gates and ups [stride / 2] each.</summary>
    private readonly struct Buffers(float* sums, float* apart, float* biases, int stride)
    {
        public float* Sums { get; } = sums;
        public float* Apart { get; } = apart;
        public float* Biases { get; } = biases;
        public int Stride { get; } = stride;
    }
}
