namespace KernelForge.Cuda;

/// <summary>
/// The canon of a product: k is cut into lanes, each summed by itself from its first element to its last, the lanes' sums added from the first to the last.
/// Depends on the shape of the weights alone, so that the bits of a row are the same whatever the number of rows; a kernel may give the lanes of few rows
/// to different blocks, so there are as many as fill a GPU.
/// </summary>
internal static class MatMulLanes
{
    private const int MostLanes = 8, BlocksToFill = 120, ColumnsOfBlock = 128, ShortestLane = 512, Group = 128;

    /// <summary>Elements of k in a lane, the last one excepted; a multiple of 128. <paramref name="columns"/> are those of the result.</summary>
    public static int Length(int columns, int k)
    {
        int lanes = 1;
        while (lanes < MostLanes && CeilDiv(columns, ColumnsOfBlock) * lanes < BlocksToFill && k / (2 * lanes) >= ShortestLane) lanes *= 2;
        return Math.Max(CeilDiv(CeilDiv(k, lanes), Group), 1) * Group;
    }

    private static int CeilDiv(int value, int divisor) => (int)(((long)value + divisor - 1) / divisor);
}
