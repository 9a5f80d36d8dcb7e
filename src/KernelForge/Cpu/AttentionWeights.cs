using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>Takes the scores of a tile into the maxima and sums of rows; scores become weights 2^(score - maximum).</summary>
internal static unsafe class AttentionWeights<TLanes> where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRowMemory.TileSize;

    /// <summary>Sixteen rows, or fewer; those that see nothing of the tile stay as they are.</summary>
    /// <param name="memory">Of the rows.</param>
    /// <param name="row">The first one; a multiple of sixteen.</param>
    /// <param name="rows">How many.</param>
    /// <param name="start">Position at which the tile starts.</param>
    /// <param name="isWhole">Whether all of them see all of it.</param>
    /// <param name="scoring">For the cap.</param>
    public static void Take(in AttentionRowMemory memory, int row, int rows, int start, bool isWhole, in AttentionScoring scoring)
    {
        if (isWhole && !scoring.HasCap) FindLargest(memory.Scores, rows, memory.Shifts + row);
        else for (int r = row; r < row + rows; r++) memory.Shifts[r] = Mask(memory, r, start, scoring);
        MoveMaxima(memory, row);
        if (isWhole)
        {
            Weigh(memory, row, rows, 0, TileSize);
            return;
        }
        for (int r = row, same; r < row + rows; r += same)
        {
            (int first, int end) = memory.Seen(r, start);
            for (same = 1; r + same < row + rows && memory.Seen(r + same, start) == (first, end);) same++;
            if (first < end) Weigh(memory, r, same, first / Lanes.Count * Lanes.Count, Lanes.Padded(end));
        }
    }

    /// <summary>The largest score of each of some rows. NaN is passed over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FindLargest(float* scores, int rows, float* largest)
    {
        var nothing = TLanes.Fill(float.NegativeInfinity);
        for (int row = 0; row < rows; row++, scores += TileSize)
        {
            TLanes max = TLanes.Max(TLanes.Load(scores), nothing);
            max = TLanes.Max(TLanes.Load(scores + 16), max);
            max = TLanes.Max(TLanes.Load(scores + 32), max);
            largest[row] = TLanes.Largest(TLanes.Max(TLanes.Load(scores + 48), max));
        }
    }

    /// <summary>Caps a row's scores, makes those that it does not see -∞, and returns the largest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Mask(in AttentionRowMemory memory, int row, int tileStart, in AttentionScoring scoring)
    {
        (int first, int end) = memory.Seen(row, tileStart);
        if (first >= end) return float.NegativeInfinity;
        float* scores = memory.Scores + row % AttentionRowMemory.BlockRows * TileSize;
        int start = first / Lanes.Count * Lanes.Count, stop = Lanes.Padded(end);
        if (scoring.HasCap)
            for (int j = start; j < stop; j += Lanes.Count) TLanes.Store(scoring.Cap(TLanes.Load(scores + j)), scores + j);
        for (int j = start; j < first; j++) scores[j] = float.NegativeInfinity;
        int tail = stop - Lanes.Count;
        if (end < stop) TLanes.Store(TLanes.First(TLanes.Load(scores + tail), end - tail, float.NegativeInfinity), scores + tail);
        var max = TLanes.Fill(float.NegativeInfinity);
        for (int j = start; j < stop; j += Lanes.Count) max = TLanes.Max(TLanes.Load(scores + j), max);
        return TLanes.Largest(max);
    }

    /// <summary>Sixteen rows: the new maximum, the decay 2^(old - new) towards it, and what scores are reduced by; no decay while no position had a score.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MoveMaxima(in AttentionRowMemory memory, int row)
    {
        TLanes old = TLanes.Load(memory.Maxima + row), max = TLanes.Max(TLanes.Load(memory.Shifts + row), old), nothing = TLanes.Fill(float.NegativeInfinity);
        TLanes.Store(max, memory.Maxima + row);
        TLanes.Store(TLanes.SelectLess(nothing, max, LaneMath.Exp2(old - max), TLanes.Fill(1)), memory.Decays + row);
        TLanes.Store(TLanes.SelectLess(nothing, max, max, TLanes.Fill(0)), memory.Shifts + row);
    }

    /// <summary>Weights of the positions start .. stop - 1, whole vectors, of some rows; sum = sum · decay + their sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weigh(in AttentionRowMemory memory, int firstRow, int rows, int start, int stop)
    {
        float* weights = memory.Scores + firstRow % AttentionRowMemory.BlockRows * TileSize, sums = memory.Sums + (nint)firstRow * Lanes.Count;
        float* shifts = memory.Shifts + firstRow, decays = memory.Decays + firstRow;
        for (int row = 0; row < rows; row++, weights += TileSize, sums += Lanes.Count)
        {
            TLanes shift = TLanes.Fill(shifts[row]), sum = TLanes.Fill(0);
            for (int j = start; j < stop; j += Lanes.Count)
            {
                TLanes weight = LaneMath.Exp2(TLanes.Load(weights + j) - shift);
                TLanes.Store(weight, weights + j);
                sum += weight;
            }

            TLanes.Store(TLanes.FusedMultiplyAdd(TLanes.Load(sums), TLanes.Fill(decays[row]), sum), sums);
        }
    }
}
