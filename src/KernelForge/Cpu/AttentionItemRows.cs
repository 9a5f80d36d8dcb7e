using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// Rows of one key/value head that walk the same positions: a tile is loaded once and used by all of them. Where registers suffice four rows are computed
/// side by side, so that a key or value that was read is used four times. Each row's own operations and their order stay those of <see cref="AttentionRow{TLanes}"/>.
/// </summary>
internal readonly unsafe struct AttentionItemRows<TLanes>(float* memory, int count, int paddedDim) where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRow<TLanes>.TileSize;

    /// <summary>Rows computed side by side.</summary>
    private const int Quad = 4;

    /// <summary>Columns whose values, of a whole tile, stay in the first-level cache.</summary>
    private const int PanelColumns = 4 * Lanes.Count;

    public AttentionRow<TLanes> this[int row] => new(memory + (nint)row * RowLength, paddedDim);

    /// <summary>Numbers of memory of so many rows.</summary>
    public static long Length(int rows, int paddedDim) => (long)rows * AttentionRow<TLanes>.Length(paddedDim);

    private int RowLength => AttentionRow<TLanes>.Length(paddedDim);

    /// <summary>Rows from here on are computed one by one.</summary>
    private int QuadsEnd => TLanes.HasManyRegisters ? count / Quad * Quad : 0;

    /// <summary>
    /// Walks the positions first .. end - 1: <paramref name="first"/> is a multiple of the tile, and <paramref name="end"/> too if the last split is left open.
    /// A split is folded into the total at its end, and the last one where the positions end.
    /// </summary>
    public void Walk(in AttentionTile<TLanes> tile, ReadOnlySpan<int> blocks, int first, int end, bool leaveOpen, in AttentionScoring scoring)
    {
        for (int start = first; start < end; start += TileSize)
        {
            (int from, int to) = VisibleTo(0, count, start);
            to = Math.Min(to, end - start);
            if (from < to)
            {
                tile.Load(blocks, start, start + from, start + to);
                AddTile(tile, start, scoring);
            }

            bool isSplitEnd = (start + TileSize) % AttentionRow<TLanes>.SplitSize == 0;
            if (isSplitEnd && start + TileSize < end) FoldSplit();
        }

        if (!leaveOpen || end % AttentionRow<TLanes>.SplitSize == 0) FoldSplit();
    }

    private void FoldSplit()
    {
        for (int row = 0; row < count; row++) this[row].FoldSplit();
    }

    private void AddTile(in AttentionTile<TLanes> tile, int start, in AttentionScoring scoring)
    {
        for (int j = 0; j < TileSize; j += Lanes.Count) Multiply(tile.Keys, start, j);
        for (int row = 0; row < count; row++)
        {
            (int first, int end) = this[row].VisibleIn(start);
            if (first < end) this[row].AddScores(first, end, scoring);
        }

        for (int column = 0; column < paddedDim; column += PanelColumns) AddValues(tile.Values, start, column, Math.Min(column + PanelColumns, paddedDim));
    }

    /// <summary>Products with sixteen keys, of the rows that see one of them.</summary>
    private void Multiply(float** keys, int start, int j)
    {
        for (int row = 0; row < QuadsEnd; row += Quad)
        {
            if (SeesAny(VisibleTo(row, Quad, start), j)) MultiplyQuad(memory + (nint)row * RowLength, keys, j);
        }

        for (int row = QuadsEnd; row < count; row++)
        {
            if (SeesAny(this[row].VisibleIn(start), j)) this[row].Multiply(keys, j);
        }

        static bool SeesAny((int First, int End) visible, int j) => visible.First < Math.Min(visible.End, j + Lanes.Count) && visible.End > j;
    }

    private void AddValues(float** values, int start, int column, int endColumn)
    {
        int row = 0;
        while (row < count)
        {
            (int first, int end) visible = this[row].VisibleIn(start);
            bool isQuad = TLanes.HasManyRegisters && row <= count - Quad;
            for (int other = row + 1; isQuad && other < row + Quad; other++) isQuad = this[other].VisibleIn(start) == visible;
            if (visible.first < visible.end)
            {
                if (isQuad) AddValuesQuad(memory + (nint)row * RowLength, values, visible.first, visible.end, column, endColumn);
                else this[row].AddValues(values, visible.first, visible.end, column, endColumn);
            }

            row += isQuad ? Quad : 1;
        }
    }

    /// <summary>The positions of a tile that any of some rows sees, counted from its start; none if End is not above First.</summary>
    private (int First, int End) VisibleTo(int row, int rows, int start)
    {
        (int first, int end) = (TileSize, 0);
        for (int r = row; r < row + rows; r++)
        {
            (int rowFirst, int rowEnd) = this[r].VisibleIn(start);
            if (rowFirst < rowEnd) (first, end) = (Math.Min(first, rowFirst), Math.Max(end, rowEnd));
        }

        return (first, end);
    }

    /// <summary>Products of four rows with sixteen keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private void MultiplyQuad(float* row, float** keys, int j)
    {
        float* halves = stackalloc float[Quad * Quad * Lanes.Count];
        for (int key = 0; key < 4; key++) HalfProducts(row, keys + j + key, halves + key * Lanes.Count);
        for (int r = 0; r < Quad; r++, row += RowLength)
        {
            float* h = halves + r * Quad * Lanes.Count;
            TLanes sums = TLanes.FinishSums(TLanes.Load(h), TLanes.Load(h + 16), TLanes.Load(h + 32), TLanes.Load(h + 48));
            TLanes.Store(sums, new AttentionRow<TLanes>(row, paddedDim).Weights + j);
        }
    }

    /// <summary>The keys 0, 4, 8 and 12 from here: first two levels of the sums of each row, 64 numbers apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void HalfProducts(float* row, float** keys, float* halves)
    {
        float* qa = new AttentionRow<TLanes>(row, paddedDim).Query, qb = qa + RowLength, qc = qb + RowLength, qd = qc + RowLength;
        float* k0 = keys[0], k1 = keys[4], k2 = keys[8], k3 = keys[12];
        TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        TLanes c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
        for (nint i = 0; i < paddedDim; i += Lanes.Count)
        {
            TLanes a = TLanes.Load(qa + i), b = TLanes.Load(qb + i), c = TLanes.Load(qc + i), d = TLanes.Load(qd + i);
            TLanes k = TLanes.Load(k0 + i);
            (a0, b0, c0, d0) = (Fma(a, k, a0), Fma(b, k, b0), Fma(c, k, c0), Fma(d, k, d0));
            k = TLanes.Load(k1 + i);
            (a1, b1, c1, d1) = (Fma(a, k, a1), Fma(b, k, b1), Fma(c, k, c1), Fma(d, k, d1));
            k = TLanes.Load(k2 + i);
            (a2, b2, c2, d2) = (Fma(a, k, a2), Fma(b, k, b2), Fma(c, k, c2), Fma(d, k, d2));
            k = TLanes.Load(k3 + i);
            (a3, b3, c3, d3) = (Fma(a, k, a3), Fma(b, k, b3), Fma(c, k, c3), Fma(d, k, d3));
        }

        TLanes.Store(TLanes.HalfSums(a0, a1, a2, a3), halves);
        TLanes.Store(TLanes.HalfSums(b0, b1, b2, b3), halves + 64);
        TLanes.Store(TLanes.HalfSums(c0, c1, c2, c3), halves + 128);
        TLanes.Store(TLanes.HalfSums(d0, d1, d2, d3), halves + 192);
    }

    /// <summary>Four rows that see the same positions: at most 64 columns of their outputs.</summary>
    private void AddValuesQuad(float* row, float** values, int first, int end, int column, int endColumn)
    {
        AttentionRow<TLanes> a = new(row, paddedDim), b = new(row + RowLength, paddedDim);
        AttentionRow<TLanes> c = new(row + 2 * RowLength, paddedDim), d = new(row + 3 * RowLength, paddedDim);
        if (endColumn - column == PanelColumns) AddPanel(a, b, c, d, values, first, end, column);
        else
        {
            for (; column < endColumn; column += Lanes.Count) AddColumns(a, b, c, d, values, first, end, column);
        }
    }

    /// <summary>Sixteen columns of four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void AddColumns(
        AttentionRow<TLanes> rowA, AttentionRow<TLanes> rowB, AttentionRow<TLanes> rowC, AttentionRow<TLanes> rowD, float** values, int first, int end, int column)
    {
        float* wa = rowA.Weights, wb = rowB.Weights, wc = rowC.Weights, wd = rowD.Weights;
        TLanes a = rowA.LoadOutput(column), b = rowB.LoadOutput(column), c = rowC.LoadOutput(column), d = rowD.LoadOutput(column);
        for (nint j = first; j < end; j++)
        {
            TLanes value = TLanes.Load(values[j] + column);
            (a, b) = (Fma(TLanes.Fill(wa[j]), value, a), Fma(TLanes.Fill(wb[j]), value, b));
            (c, d) = (Fma(TLanes.Fill(wc[j]), value, c), Fma(TLanes.Fill(wd[j]), value, d));
        }

        rowA.StoreOutput(column, a);
        rowB.StoreOutput(column, b);
        rowC.StoreOutput(column, c);
        rowD.StoreOutput(column, d);
    }

    /// <summary>64 columns of four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void AddPanel(
        AttentionRow<TLanes> rowA, AttentionRow<TLanes> rowB, AttentionRow<TLanes> rowC, AttentionRow<TLanes> rowD, float** values, int first, int end, int column)
    {
        float* wa = rowA.Weights, wb = rowB.Weights, wc = rowC.Weights, wd = rowD.Weights;
        rowA.LoadOutput(column, out TLanes a0, out TLanes a1, out TLanes a2, out TLanes a3);
        rowB.LoadOutput(column, out TLanes b0, out TLanes b1, out TLanes b2, out TLanes b3);
        rowC.LoadOutput(column, out TLanes c0, out TLanes c1, out TLanes c2, out TLanes c3);
        rowD.LoadOutput(column, out TLanes d0, out TLanes d1, out TLanes d2, out TLanes d3);
        for (nint j = first; j < end; j++)
        {
            float* value = values[j] + column;
            TLanes v0 = TLanes.Load(value), v1 = TLanes.Load(value + 16), v2 = TLanes.Load(value + 32), v3 = TLanes.Load(value + 48);
            TLanes weight = TLanes.Fill(wa[j]);
            (a0, a1, a2, a3) = (Fma(weight, v0, a0), Fma(weight, v1, a1), Fma(weight, v2, a2), Fma(weight, v3, a3));
            weight = TLanes.Fill(wb[j]);
            (b0, b1, b2, b3) = (Fma(weight, v0, b0), Fma(weight, v1, b1), Fma(weight, v2, b2), Fma(weight, v3, b3));
            weight = TLanes.Fill(wc[j]);
            (c0, c1, c2, c3) = (Fma(weight, v0, c0), Fma(weight, v1, c1), Fma(weight, v2, c2), Fma(weight, v3, c3));
            weight = TLanes.Fill(wd[j]);
            (d0, d1, d2, d3) = (Fma(weight, v0, d0), Fma(weight, v1, d1), Fma(weight, v2, d2), Fma(weight, v3, d3));
        }

        rowA.StoreOutput(column, a0, a1, a2, a3);
        rowB.StoreOutput(column, b0, b1, b2, b3);
        rowC.StoreOutput(column, c0, c1, c2, c3);
        rowD.StoreOutput(column, d0, d1, d2, d3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Fma(TLanes a, TLanes b, TLanes c) => TLanes.FusedMultiplyAdd(a, b, c);
}
