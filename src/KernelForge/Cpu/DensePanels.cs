using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Where a dense product finds panels: in packed weights, or in a row-major matrix, of which it packs what it needs.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct DensePanels
{
    private const int Line = PanelLayout.LineBytes / sizeof(uint);

    private readonly byte* _address;
    private readonly nint _rowStride; // bytes; 0 for packed weights
    private readonly int _n, _size;

    public DensePanels(DenseWeights weights)
    {
        _address = (byte*)weights.Buffer.Address;
        (K, _n, _size) = (weights.K, weights.N, weights.DType.Size());
        AreFiniteHalves = weights.AreFiniteHalves;
        PanelWords = (nint)PanelLayout.Words(weights.DType, weights.K) * Line;
    }

    public DensePanels(in DeviceMatrix weights)
    {
        _address = (byte*)weights.Address;
        (K, _n, _size) = (weights.Columns, weights.Rows, weights.DType.Size());
        _rowStride = (nint)weights.RowStride * _size;
        PanelWords = (nint)PanelLayout.Words(weights.DType, IPanelProduct.Chunk) * Line;
    }

    /// <summary>Inputs.</summary>
    public int K { get; }

    /// <summary>Whether the weights are known to be F16 without infinity and NaN.</summary>
    public bool AreFiniteHalves { get; }

    /// <summary>Words from one panel to the next.</summary>
    public nint PanelWords { get; }

    /// <summary>Whether <see cref="Chunk"/> packs, in scratch.</summary>
    public bool AreRows => _rowStride != 0;

    /// <summary>Lines of some panels over one chunk of k.</summary>
    /// <param name="first">Panel.</param>
    /// <param name="count">Panels.</param>
    /// <param name="start">The first k, a multiple of <see cref="IPanelProduct.Chunk"/>.</param>
    /// <param name="pairs">Pairs of k in the chunk.</param>
    /// <param name="scratch">Room for them, if they must be packed.</param>
    public uint* Chunk(int first, int count, int start, int pairs, uint* scratch)
    {
        if (!AreRows) return (uint*)_address + first * PanelWords + (nint)start * _size / sizeof(uint) * Line;
        int words = 2 * pairs * _size / sizeof(uint), bytes = Math.Min(IPanelProduct.Chunk, K - start) * _size;
        for (int i = 0; i < 2 * count; i++)
        {
            int row = (2 * first + i) * Panels.Half;
            uint* lines = scratch + i / 2 * PanelWords + i % 2 * Panels.Half;
            Panels.PackHalf(_address + row * _rowStride + (nint)start * _size, _rowStride, _n - row, bytes, words, lines);
        }
        return scratch;
    }

    /// <summary>Where the chunk behind one lies: the next of the same panels, or the first of those that follow them. Of rows nothing can be foreseen.</summary>
    public uint* Next(uint* chunk, int followingPanel, int start)
    {
        if (AreRows) return chunk;
        bool isLast = start + IPanelProduct.Chunk >= K;
        return isLast ? (uint*)_address + followingPanel * PanelWords : chunk + IPanelProduct.Chunk * _size / sizeof(uint) * Line;
    }
}
