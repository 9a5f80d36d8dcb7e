using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Products of packed weights with x in 8-bit whole numbers by the native library. The bits are those of <see cref="Int8Product{TLanes, TSums, TCodes}"/>.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct NativeInt8Product<TLanes>(CpuLibrary library, DeviceMatrix x, PackedWeights weights) : IPanelProduct where TLanes : struct, ILanes<TLanes>
{
    private const int TilePanels = PackedLayout.Tile / PanelLayout.Panel;

    private readonly delegate* unmanaged<NativeInt8Args*, void> _multiply = library.Int8Panels;
    private readonly Int8Tiles<TLanes> _x = new(x, weights, isWide: false);
    private readonly PackedLayout _layout = weights.Layout;
    private readonly byte* _codes = (byte*)weights.Buffer.Address;

    public int MaxPanels => TilePanels;

    public long PackedBytes(int rows) => (long)rows * _x.RowBytes;

    public long ScratchBytes(int rows) => 0;

    public void PackTile(int firstRow, int rows, byte* packed) => _x.Pack(firstRow, rows, packed);

    public void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch)
    {
        for (int panel = firstPanel, end = firstPanel + panels; panel < end;)
        {
            int count = Math.Min(TilePanels - panel % TilePanels, end - panel);
            MultiplyInTile(rows, packed, panel, count, sums, stride);
            sums += count * PanelLayout.Panel;
            panel += count;
        }
    }

    /// <summary>Panels of one tile.</summary>
    private void MultiplyInTile(int rows, byte* packed, int panel, int count, float* sums, int stride)
    {
        (int tile, int inTile) = Math.DivRem(panel, TilePanels);
        WeightFormat format = _layout.Format;
        long scale = _layout.Scale(panel * PanelLayout.Panel, 0);
        var args = new NativeInt8Args
        {
            X = packed,
            Codes = _codes + (long)tile * _layout.Blocks * _layout.BlockBytes + inTile * (_layout.BlockBytes / TilePanels),
            Scales = (float*)(_codes + _layout.ScalesOffset) + scale,
            Zeros = format.HasZeroPoints ? _codes + _layout.ZerosOffset + scale : null,
            Sums = sums,
            XRowBytes = _x.RowBytes,
            SumsStride = stride,
            Bits = format.Bits,
            Blocks = _layout.Blocks,
            GroupLength = format.GroupSize == 0 ? PackedLayout.Tile : format.GroupSize,
            ScaleGroupStride = format.GroupSize == 0 ? 0 : PackedLayout.Tile,
            Rows = rows,
            PanelCount = count,
        };
        _multiply(&args);
    }
}
