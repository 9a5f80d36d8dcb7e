namespace KernelForge.Cpu;

/// <summary>
/// The inner part of a matrix product: a few rows of x times <see cref="Columns"/> rows of weights, over one chunk of k.
/// </summary>
/// <remarks>
/// Every form computes the same sums in the same order. With products numbered from the start of the chunk, lane l (0..15, see <see cref="Lanes"/>) adds up
/// products l, l + 16, l + 32, ... by fused multiply-add, from +0; then lane l is added to lane l + 8, l to l + 4, l to l + 2 and l to l + 1.
/// The chunk sums of an element are added up in ascending order, the first one as it is.
/// </remarks>
internal unsafe interface IMatMulTile
{
    /// <summary>Products of k that are summed before they are added to the total.</summary>
    const int Chunk = 1024;

    /// <summary>Rows of weights in a tile.</summary>
    const int Columns = 8;

    /// <summary>Most rows of x in a tile.</summary>
    static abstract int Rows { get; }

    /// <summary>Adds the sums of a chunk to totals, or starts the totals when <paramref name="isFirst"/>.</summary>
    /// <param name="rows">1 .. <see cref="Rows"/>.</param>
    /// <param name="x">[rows, length], contiguous.</param>
    /// <param name="weights">[<see cref="Columns"/>, length].</param>
    /// <param name="weightStride">Elements from one row of weights to the next.</param>
    /// <param name="length">A multiple of <see cref="Lanes.Count"/>.</param>
    /// <param name="totals">[rows, <see cref="Columns"/>].</param>
    /// <param name="totalStride">Elements from one row of totals to the next.</param>
    /// <param name="isFirst">Whether there are no totals yet.</param>
    static abstract void AddChunk<T>(
        int rows, float* x, T* weights, nint weightStride, int length, float* totals, int totalStride, bool isFirst) where T : unmanaged;
}
