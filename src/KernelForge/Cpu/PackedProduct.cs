using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Products with packed weights, x in F32. k is walked block by block, in the order in which the weights of a tile lie.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct PackedProduct<TLanes, TCodes> : IPanelProduct where TLanes : struct, ILanes<TLanes> where TCodes : struct, IPackedCodes
{
    /// <summary>So many rows pay for a copy of the weights as F32.</summary>
    private const int RowsToWiden = 16;

    private const int WideBytes = PackedTile<TLanes, TCodes>.Panels * PackedLayout.Tile * PanelLayout.LineBytes;
    private const int Side = PackedTile<TLanes, TCodes>.Panels, TilePanels = PackedLayout.Tile / PanelLayout.Panel;

    private readonly FloatTiles<TLanes> _x;
    private readonly PackedLayout _layout;
    private readonly byte* _codes;

    public PackedProduct(in DeviceMatrix x, PackedWeights weights, ActivationPrecision activations)
    {
        _layout = weights.Layout;
        _codes = (byte*)weights.Buffer.Address;
        int* order = weights.HasOrder ? (int*)(_codes + _layout.OrderOffset) : null;
        _x = new FloatTiles<TLanes>(x, activations, PackedLayout.Tile, order);
    }

    public int MaxPanels => TilePanels;

    public long PackedBytes(int rows) => _x.PackedBytes(rows);

    /// <summary>Weights of four panels in a block as F32, then totals of a tile's panels of which some are asked for.</summary>
    public long ScratchBytes(int rows) => WideBytes + (long)rows * TilePanels * PanelLayout.LineBytes;

    public void PackTile(int firstRow, int rows, byte* packed) => _x.Pack(firstRow, rows, (float*)packed);

    public void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch)
    {
        for (int panel = firstPanel, end = firstPanel + panels; panel < end;)
        {
            int count = Math.Min(TilePanels - panel % TilePanels, end - panel);
            MultiplyInTile(rows, (float*)packed, panel, count, sums, stride, scratch);
            sums += count * PanelLayout.Panel;
            panel += count;
        }
    }

    /// <summary>Panels of one tile. Where they are no whole fours, fours are multiplied to scratch, as the tile has all of its panels.</summary>
    private void MultiplyInTile(int rows, float* x, int panel, int count, float* sums, int stride, byte* scratch)
    {
        int first = panel / Side * Side, last = (panel + count + Side - 1) / Side * Side;
        bool isWhole = first == panel && last == panel + count;
        float* totals = isWhole ? sums : (float*)(scratch + WideBytes);
        int totalStride = isWhole ? stride : TilePanels * PanelLayout.Panel;
        for (int row = 0; row < rows; row++) new Span<float>(totals + (nint)row * totalStride, (last - first) * PanelLayout.Panel).Clear();
        for (int block = 0; block < _layout.Blocks; block++)
            for (int four = first; four < last; four += Side)
            {
                PackedBlock weights = PackedBlock.Of<TCodes>(_layout, _codes, four, block);
                float* to = totals + (four - first) * PanelLayout.Panel;
                if (rows < RowsToWiden) Add<TCodes>(rows, weights, x, block * PackedLayout.Tile, to, totalStride);
                else Add<WideCodes>(rows, PackedTile<TLanes, TCodes>.Widen(weights, (float*)scratch), x, block * PackedLayout.Tile, to, totalStride);
            }

        for (int row = 0; row < rows && !isWhole; row++)
            new Span<float>(totals + (nint)row * totalStride + (panel - first) * PanelLayout.Panel, count * PanelLayout.Panel)
                .CopyTo(new Span<float>(sums + (nint)row * stride, count * PanelLayout.Panel));
    }

    /// <summary>Adds the products of a block with all rows.</summary>
    private void Add<TWeights>(int rows, in PackedBlock block, float* x, int firstK, float* totals, int stride) where TWeights : struct, IPackedCodes
    {
        for (int row = 0; row < rows;)
        {
            int tile = RowTiles.Next(rows - row), following = rows - row - tile;
            float* next = x + _x.PackedBytes(tile) / sizeof(float);
            if (following > 0) Ask(next + (nint)firstK * RowTiles.Next(following), PackedLayout.Tile * RowTiles.Next(following));
            PackedTile<TLanes, TWeights>.Add(tile, block, x + (nint)firstK * tile, totals, stride);
            x = next;
            totals += (nint)tile * stride;
            row += tile;
        }
    }

    /// <summary>Asks for the rows of x that are next: they lie far from those before them, which hardware does not foresee.</summary>
    private static void Ask(float* x, int count)
    {
        if (!Sse.IsSupported) return;
        for (int i = 0; i < count; i += Lanes.Count) Sse.Prefetch0(x + i);
    }
}
