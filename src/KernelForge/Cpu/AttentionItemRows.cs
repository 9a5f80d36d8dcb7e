using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// Rows of one key/value head that walk the same positions: a tile is loaded once and used by all of them. Where registers suffice four rows are computed
/// side by side, so that a key or value that was read is used four times. Each row's own operations and their order do not depend on the others.
/// </summary>
internal readonly unsafe struct AttentionItemRows<TLanes>(AttentionRowMemory memory) where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRowMemory.TileSize, SplitSize = AttentionRow<TLanes>.SplitSize;

    /// <summary>Rows computed side by side.</summary>
    private const int Quad = 4;

    public AttentionRow<TLanes> this[int row] => new(memory, row);

    /// <summary>
    /// Walks the positions first .. end - 1: <paramref name="first"/> is a multiple of the tile, and <paramref name="end"/> too if the last split is left open.
    /// A split is folded into the total at its end, and the last one where the positions end.
    /// </summary>
    public void Walk(in AttentionTile<TLanes> tile, ReadOnlySpan<int> blocks, int first, int end, bool leaveOpen, in AttentionScoring scoring)
    {
        (int commonFirst, int commonEnd) = SeenByAll();
        for (int start = first; start < end; start += TileSize)
        {
            bool isWhole = commonFirst <= start && Math.Min(commonEnd, end) >= start + TileSize;
            (int from, int to) = isWhole ? (0, TileSize) : memory.SeenByAny(0, memory.Rows, start);
            to = Math.Min(to, end - start);
            if (from < to)
            {
                tile.Load(blocks, start, start + from, start + to, end);
                AddTile(tile, start, isWhole, scoring);
            }

            bool isSplitEnd = (start + TileSize) % SplitSize == 0;
            if (isSplitEnd && start + TileSize < end) FoldSplit();
        }

        if (!leaveOpen || end % SplitSize == 0) FoldSplit();
    }

    private void FoldSplit()
    {
        for (int row = 0; row < memory.Rows; row++) this[row].FoldSplit();
    }

    /// <summary>The positions that all rows see.</summary>
    private (int First, int End) SeenByAll()
    {
        (int first, int last) = (0, int.MaxValue - 1);
        for (int row = 0; row < memory.Rows; row++) (first, last) = (Math.Max(first, memory.First[row]), Math.Min(last, memory.Last[row]));
        return (first, last + 1);
    }

    private void AddTile(in AttentionTile<TLanes> tile, int start, bool isWhole, in AttentionScoring scoring)
    {
        for (int row = 0; row < memory.Rows; row += AttentionRowMemory.BlockRows)
        {
            int rows = Math.Min(AttentionRowMemory.BlockRows, memory.Rows - row);
            bool isWholeBlock = isWhole || memory.SeenByAll(row, rows, start) == (0, TileSize);
            Multiply(tile, row, rows, start, isWholeBlock, scoring);
            AttentionWeights<TLanes>.Take(memory, row, rows, start, isWholeBlock, scoring);
            AddValues(tile, row, rows, start, isWholeBlock);
        }
    }

    /// <summary>Scores of some rows, before their cap.</summary>
    private void Multiply(in AttentionTile<TLanes> tile, int row, int rows, int start, bool isWhole, in AttentionScoring scoring)
    {
        nint dim = tile.KeyDim, stride = memory.PaddedDim;
        for (int end = row + rows, step; row < end; row += step)
        {
            step = Step(end - row);
            (int First, int End) seen = isWhole ? (0, TileSize) : memory.SeenByAny(row, step, start);
            float* query = memory.Queries + row * stride, scores = Weights(row);
            if (seen.First < Lanes.Count && seen.End > TileSize - Lanes.Count)
            {
                if (step == Quad) AttentionProducts<TLanes>.FourRows(query, stride, tile.Keys, dim, scoring.Rate, scores);
                else AttentionProducts<TLanes>.OneRow(query, tile.Keys, dim, scoring.Rate, scores);
                continue;
            }
            for (int j = seen.First / Lanes.Count * Lanes.Count; j < seen.End; j += Lanes.Count)
            {
                if (step == Quad) AttentionProducts<TLanes>.FourRowsOfSixteen(query, stride, tile.Keys + j, dim, scoring.Rate, scores + j);
                else AttentionProducts<TLanes>.OneRowOfSixteen(query, tile.Keys + j, dim, scoring.Rate, scores + j);
            }
        }
    }

    private void AddValues(in AttentionTile<TLanes> tile, int row, int rows, int start, bool isWhole)
    {
        if (tile.ValueType == DType.F32) AddValues<float>(tile.Values, row, rows, start, isWhole);
        else if (tile.ValueType == DType.F16) AddValues<Half>(tile.Values, row, rows, start, isWhole);
        else AddValues<BFloat16>(tile.Values, row, rows, start, isWhole);
    }

    private void AddValues<T>(nint* values, int row, int rows, int start, bool isWhole) where T : unmanaged
    {
        for (int end = row + rows, step; row < end; row += step)
        {
            step = Step(end - row);
            (int First, int End) any = isWhole ? (0, TileSize) : memory.SeenByAny(row, step, start);
            if (any.First >= any.End) continue;
            if (step == 1) AttentionValues<TLanes, T>.OneRow(Weights(row), values, any.First, any.End, memory.Decays[row], Output(row), memory.PaddedDim);
            else if (isWhole || memory.SeenByAll(row, step, start) == any) AddToFour<T>(row, values, any.First, any.End, memory.Decays + row);
            else AddUnlike<T>(row, values, start);
        }
    }

    /// <summary>Four rows that do not see the same: what one of them sees alone at either end, and between that what all of them see.</summary>
    private void AddUnlike<T>(int row, nint* values, int start) where T : unmanaged
    {
        float* ones = stackalloc float[] { 1, 1, 1, 1 };
        (int first, int end) = memory.SeenByAll(row, Quad, start);
        for (int r = row; r < row + Quad; r++)
        {
            (int rowFirst, int rowEnd) = memory.Seen(r, start);
            if (rowFirst >= rowEnd) continue;
            AttentionValues<TLanes, T>.OneRow(Weights(r), values, rowFirst, first < end ? first : rowEnd, memory.Decays[r], Output(r), memory.PaddedDim);
        }

        if (first >= end) return;
        AddToFour<T>(row, values, first, end, ones);
        for (int r = row; r < row + Quad; r++)
        {
            int rowEnd = memory.Seen(r, start).End;
            if (rowEnd > end) AttentionValues<TLanes, T>.OneRow(Weights(r), values, end, rowEnd, 1, Output(r), memory.PaddedDim);
        }
    }

    private void AddToFour<T>(int row, nint* values, int first, int end, float* decays) where T : unmanaged =>
        AttentionValues<TLanes, T>.FourRows(Weights(row), values, first, end, decays, Output(row), memory.PaddedDim);

    /// <summary>Rows of the next step where so many are left.</summary>
    private static int Step(int left) => TLanes.HasManyRegisters && left >= Quad ? Quad : 1;

    private float* Weights(int row) => memory.Scores + row % AttentionRowMemory.BlockRows * TileSize;

    private float* Output(int row) => memory.Outputs + (nint)row * memory.PaddedDim;
}
