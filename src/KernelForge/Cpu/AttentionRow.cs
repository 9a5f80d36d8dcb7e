using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// The running softmax of one query row. The canon of the CPU: a tile is <see cref="TileSize"/> positions, a split <see cref="SplitSize"/>, both at absolute
/// positions. Every split starts from nothing, takes its tiles in ascending order and is folded into the total in ascending order; the first one is the total.
/// These steps depend on the row's own query and positions only, so a row may be computed alone, with others, or be carried on after a part of its tiles was
/// added elsewhere: the bits are the same.
/// </summary>
/// <remarks>Online softmax: Milakov and Gimelshein, arXiv:1805.02867; fixed splits as in batch-invariant attention.</remarks>
internal readonly unsafe struct AttentionRow<TLanes>(AttentionRowMemory memory, int row) where TLanes : struct, ILanes<TLanes>
{
    /// <summary>Positions of a tile.</summary>
    public const int TileSize = AttentionRowMemory.TileSize;

    /// <summary>Positions of a split; a whole number of tiles.</summary>
    public const int SplitSize = 512;

    // A slot: maximum, sum of a record | sum by lane of a carry | output.
    private const int SlotSumsAt = Lanes.Count, SlotOutputAt = 2 * Lanes.Count;

    private ref float SplitMax => ref memory.Maxima[row];

    private ref float TotalMax => ref memory.TotalMaxima[row];

    private ref float TotalSum => ref memory.TotalSums[row];

    private float* Sums => memory.Sums + (nint)row * Lanes.Count;

    private float* Output => memory.Outputs + (nint)row * memory.PaddedDim;

    private float* Total => memory.Totals + (nint)row * memory.PaddedDim;

    private bool HasTotal => !IsNothing(TotalMax, TotalSum);

    /// <summary>Numbers of a slot: a total, or a split that is left open.</summary>
    public static int SlotLength(int paddedDim) => SlotOutputAt + paddedDim;

    /// <summary>Starts from nothing, for a row that sees the positions first .. last.</summary>
    public void Start(int first, int last)
    {
        (memory.First[row], memory.Last[row]) = (first, last);
        TotalMax = float.NegativeInfinity;
        TotalSum = 0;
        StartSplit();
    }

    /// <summary>Takes the query, whose elements behind <paramref name="headDim"/> become zero.</summary>
    public void SetQuery(nint query, DType type, int headDim) =>
        Elements.ToF32<TLanes>(query, type, memory.Queries + (nint)row * memory.PaddedDim, headDim);

    /// <summary>Adds the split to the total and starts the next one.</summary>
    public void FoldSplit()
    {
        Fold(SplitMax, TLanes.Sum(TLanes.Load(Sums)), Output);
        StartSplit();
    }

    /// <summary>Adds a record: what <see cref="StoreRecord"/> left of a row that took the splits behind this total's, a single one if there is a total.</summary>
    public void FoldRecord(float* slot) => Fold(slot[0], slot[1], slot + SlotOutputAt);

    /// <summary>Leaves the total to another item.</summary>
    public void StoreRecord(float* slot)
    {
        (slot[0], slot[1]) = (TotalMax, TotalSum);
        if (HasTotal) Copy(Total, slot + SlotOutputAt);
    }

    /// <summary>Leaves the split, which is not at its end, to another item.</summary>
    public void StoreCarry(float* slot)
    {
        slot[0] = SplitMax;
        TLanes.Store(TLanes.Load(Sums), slot + SlotSumsAt);
        Copy(Output, slot + SlotOutputAt);
    }

    /// <summary>Takes over the split that <see cref="StoreCarry"/> left.</summary>
    public void LoadCarry(float* slot)
    {
        SplitMax = slot[0];
        TLanes.Store(TLanes.Load(slot + SlotSumsAt), Sums);
        Copy(slot + SlotOutputAt, Output);
    }

    /// <summary>Writes the total over its sum; 0 where the row saw nothing.</summary>
    public void Finish(nint result, DType type, int headDim)
    {
        bool hasTotal = HasTotal;
        TLanes sum = TLanes.Fill(TotalSum);
        for (int i = 0; i < headDim; i += Lanes.Count)
            Elements.Store(hasTotal ? TLanes.Load(Total + i) / sum : TLanes.Fill(0), result, type, i, headDim);
    }

    /// <summary>Natural logarithm of the sum of the exponentials of all scores; -∞ where the row saw nothing.</summary>
    public float LogSum() => HasTotal
        ? TLanes.Largest(TLanes.FusedMultiplyAdd(TLanes.Fill(TotalMax), TLanes.Fill(AttentionScoring.Unit), LaneMath.Log(TLanes.Fill(TotalSum)))) : float.NegativeInfinity;

    /// <summary>Whether no position was added. A sum of NaN is something.</summary>
    private static bool IsNothing(float max, float sum) => float.IsNegativeInfinity(max) && sum == 0;

    /// <summary>2^(old - max), the difference taken first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes DecayTo(float max, float old) =>
        float.IsNegativeInfinity(max) ? TLanes.Fill(1) : LaneMath.Exp2(TLanes.Fill(old - max));

    private void StartSplit()
    {
        SplitMax = float.NegativeInfinity;
        TLanes.Store(TLanes.Fill(0), Sums);
        float* output = Output;
        for (nint i = 0; i < memory.PaddedDim; i += Lanes.Count) TLanes.Store(TLanes.Fill(0), output + i);
    }

    /// <summary>Nothing is a total of its own: adding it, or adding to it, rounds nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Fold(float splitMax, float splitSum, float* output)
    {
        if (IsNothing(splitMax, splitSum)) return;
        if (!HasTotal)
        {
            (TotalMax, TotalSum) = (splitMax, splitSum);
            Copy(output, Total);
            return;
        }

        float max = MathF.Max(TotalMax, splitMax);
        TLanes totalDecay = DecayTo(max, TotalMax), splitDecay = DecayTo(max, splitMax);
        float* totals = Total;
        for (nint i = 0; i < memory.PaddedDim; i += Lanes.Count)
        {
            TLanes total = TLanes.Load(totals + i) * totalDecay;
            TLanes.Store(TLanes.FusedMultiplyAdd(TLanes.Load(output + i), splitDecay, total), totals + i);
        }

        TLanes sum = TLanes.FusedMultiplyAdd(TLanes.Fill(splitSum), splitDecay, TLanes.Fill(TotalSum) * totalDecay);
        TotalSum = TLanes.Largest(sum); // every lane is the sum
        TotalMax = max;
    }

    private void Copy(float* from, float* to)
    {
        for (nint i = 0; i < memory.PaddedDim; i += Lanes.Count) TLanes.Store(TLanes.Load(from + i), to + i);
    }
}
