using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>
/// Products of dense BF16 weights with x in BF16 by the native library. The bits are those of <see cref="DenseProduct{TLanes, TWeight}"/>, but that the instruction takes
/// subnormal numbers for zero, in x, in weights and in sums.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct NativeBf16Product<TLanes>(CpuLibrary library, DeviceMatrix x, DenseWeights weights) : IPanelProduct where TLanes : struct, ILanes<TLanes>
{
    private const int PieceLength = 256;

    private readonly delegate* unmanaged<NativeBf16Args*, void> _multiply = library.Bf16Panels;
    private readonly byte* _weights = (byte*)weights.Buffer.Address;
    private readonly int _words = PanelLayout.Words(DType.BF16, weights.K);

    public int MaxPanels => 8;

    public long PackedBytes(int rows) => (long)rows * Lanes.Padded(_words) * sizeof(uint);

    public long ScratchBytes(int rows) => 0;

    public void PackTile(int firstRow, int rows, byte* packed)
    {
        const int pieceWords = PieceLength / 2;
        uint* words = stackalloc uint[RowTiles.Most * pieceWords], to = (uint*)packed;
        for (int start = 0; start < x.Columns; start += PieceLength, to += pieceWords * rows)
        {
            int count = Math.Min(PieceLength, x.Columns - start);
            for (int row = 0; row < rows; row++)
            {
                uint* piece = words + row * pieceWords;
                piece[(count - 1) / 2] = 0; // what follows an odd number of elements
                Elements.Convert<TLanes>(x.RowAddress(firstRow + row) + (nint)start * x.DType.Size(), x.DType, (nint)piece, DType.BF16, count);
            }
            WordTiles.Interleave(rows, words, pieceWords, (count + 1) / 2, to);
        }
    }

    public void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch)
    {
        long panelBytes = (long)_words * PanelLayout.LineBytes;
        var args = new NativeBf16Args
        {
            X = packed,
            Panels = _weights + firstPanel * panelBytes,
            Sums = sums,
            XRowBytes = PackedBytes(1),
            PanelStride = panelBytes,
            SumsStride = stride,
            KWords = _words,
            Rows = rows,
            PanelCount = panels,
        };
        _multiply(&args);
    }
}
