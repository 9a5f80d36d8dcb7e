namespace KernelForge.Cpu;

/// <summary>
/// The inner part of a matrix product on the CPU, by kind of weights, precision of x and instruction set: packs x the way it reads it, then sums rows times panels over all
/// of k. <see cref="PanelWork{TLanes, TProduct}"/> cuts the product up, and stores.
/// </summary>
/// <remarks>
/// Rows are taken in tiles: <see cref="RowTiles"/> says which. No tile size, no number of panels and no thread changes the order of an element's sums:
/// <list type="bullet">
/// <item>dense: k in chunks of <see cref="Chunk"/>; in a chunk, from +0, for each pair of neighbours first k odd, then k even by fused multiply-add; sums of chunks are added up in
/// ascending order, the first as it is. (That is what vdpbf16ps does, which therefore gives the same bits.)</item>
/// <item>packed, x as it is: the same chain over each group of k (one scale per output counts as groups of 128); total = fma(scale, chain, total) from +0, groups ascending</item>
/// <item>packed, x int8: whole sums of (code − zero) · q over each group, exact; total = fma((float)sum · scale of x, scale, total) from +0, groups ascending</item>
/// </list>
/// </remarks>
internal unsafe interface IPanelProduct
{
    /// <summary>k of a chunk of dense products.</summary>
    const int Chunk = 256;

    /// <summary>Panels that <see cref="Multiply"/> takes at once, at most.</summary>
    int MaxPanels { get; }

    /// <summary>Bytes of <paramref name="rows"/> packed rows of x, a multiple of 64.</summary>
    long PackedBytes(int rows);

    /// <summary>Bytes of scratch that <see cref="Multiply"/> needs for so many rows.</summary>
    long ScratchBytes(int rows);

    /// <summary>Packs one tile of rows of x.</summary>
    /// <param name="firstRow">Of x.</param>
    /// <param name="rows">Of the tile.</param>
    /// <param name="packed">Where the tile's packed rows start.</param>
    void PackTile(int firstRow, int rows, byte* packed);

    /// <summary>Sums of packed rows with some panels, over all of k.</summary>
    /// <param name="rows">Packed rows, tile after tile.</param>
    /// <param name="packed">What <see cref="PackTile"/> made of them.</param>
    /// <param name="firstPanel">Of the weights.</param>
    /// <param name="panels">1 .. <see cref="MaxPanels"/>.</param>
    /// <param name="sums">[rows, stride]; written, 16 for each panel.</param>
    /// <param name="stride">Floats from one row of sums to the next.</param>
    /// <param name="scratch">Of the calling thread.</param>
    void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch);
}

/// <summary>How rows are cut into tiles: fours, then a pair, then a single one.</summary>
internal static class RowTiles
{
    /// <summary>Rows of a whole tile.</summary>
    public const int Most = 4;

    /// <summary>Rows of the next tile where so many are left: 4, 2 or 1.</summary>
    public static int Next(int left) => left >= 4 ? 4 : left >= 2 ? 2 : 1;
}
