using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Products of packed weights with x in 8-bit whole numbers. k is walked block by block, in the order in which the weights of a tile lie.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct Int8Product<TLanes, TSums, TCodes>(DeviceMatrix x, PackedWeights weights) : IPanelProduct
    where TLanes : struct, ILanes<TLanes> where TSums : struct, ICodeSums<TSums> where TCodes : struct, IPackedCodes
{
    private const int TilePanels = PackedLayout.Tile / PanelLayout.Panel;

    private readonly Int8Tiles<TLanes> _x = new(x, weights, isWide: TCodes.Bits == 8);
    private readonly PackedLayout _layout = weights.Layout;
    private readonly byte* _codes = (byte*)weights.Buffer.Address;

    public int MaxPanels => TilePanels;

    public long PackedBytes(int rows) => (long)rows * _x.RowBytes;

    public long ScratchBytes(int rows) => 0;

    public void PackTile(int firstRow, int rows, byte* packed) => _x.Pack(firstRow, rows, packed);

    public void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch)
    {
        for (int row = 0; row < rows; row++) new Span<float>(sums + (nint)row * stride, panels * PanelLayout.Panel).Clear();
        for (int block = 0; block < _layout.Blocks; block++)
            for (int panel = 0; panel < panels; panel++)
                Add(rows, packed, PackedBlock.Of<TCodes>(_layout, _codes, firstPanel + panel, block), block, sums + panel * PanelLayout.Panel, stride);
    }

    /// <summary>Adds the products of a block of one panel with all rows.</summary>
    private void Add(int rows, byte* packed, in PackedBlock block, int index, float* totals, int stride)
    {
        for (int row = 0; row < rows;)
        {
            int tile = RowTiles.Next(rows - row), words = _x.Words(tile);
            float* scales = (float*)packed + words;
            int* sums = (int*)scales + _layout.Blocks * tile;
            Int8Tile<TSums, TCodes>.Add(
                tile, block, (uint*)packed + words / _layout.Blocks * index, scales + index * tile, sums + index * block.Groups * tile, totals, stride);
            packed += PackedBytes(tile);
            totals += (nint)tile * stride;
            row += tile;
        }
    }
}
