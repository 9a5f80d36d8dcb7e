using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// The running softmax of one query row, over memory that its owner provides. The canon of the CPU: a tile is <see cref="TileSize"/> positions, a split
/// <see cref="SplitSize"/>, both at absolute positions. Every split starts from nothing, takes its tiles in ascending order and is folded into the total in
/// ascending order; the first one is the total. These steps depend on the row's own query and positions only, so a row may be computed alone, with others, or
/// be carried on after a part of its tiles was added elsewhere: the bits are the same.
/// </summary>
/// <remarks>Online softmax: Milakov and Gimelshein, arXiv:1805.02867; fixed splits as in batch-invariant attention.</remarks>
internal readonly unsafe struct AttentionRow<TLanes>(float* memory, int paddedDim) where TLanes : struct, ILanes<TLanes>
{
    /// <summary>Positions of a tile.</summary>
    public const int TileSize = 64;

    /// <summary>Positions of a split; a whole number of tiles.</summary>
    public const int SplitSize = 512;

    // Memory: single numbers (one vector) | split sum by lane | products, then weights, of a tile | query | split output | total output.
    private const int SumsAt = Lanes.Count, WeightsAt = 2 * Lanes.Count, QueryAt = WeightsAt + TileSize;

    // A slot: maximum, sum of a record | sum by lane of a carry | output.
    private const int SlotSumsAt = Lanes.Count, SlotOutputAt = 2 * Lanes.Count;

    private ref float SplitMax => ref memory[0];

    private ref float TotalMax => ref memory[1];

    private ref float TotalSum => ref memory[2];

    /// <summary>What the split's output is multiplied with before the values of the tile are added.</summary>
    private ref float Decay => ref memory[3];

    private ref int FirstPosition => ref ((int*)memory)[4];

    private ref int LastPosition => ref ((int*)memory)[5];

    private float* Sums => memory + SumsAt;

    /// <summary>Of a tile's positions: products of query and key until <see cref="AddScores"/>, then weights.</summary>
    public float* Weights => memory + WeightsAt;

    /// <summary>Padded with zeros.</summary>
    public float* Query => memory + QueryAt;

    private float* Output => memory + QueryAt + paddedDim;

    private float* Total => memory + QueryAt + 2 * paddedDim;

    private bool HasTotal => !IsNothing(TotalMax, TotalSum);

    /// <summary>Numbers of memory that a row takes.</summary>
    public static int Length(int paddedDim) => QueryAt + 3 * paddedDim;

    /// <summary>Numbers of a slot: a total, or a split that is left open.</summary>
    public static int SlotLength(int paddedDim) => SlotOutputAt + paddedDim;

    /// <summary>Starts from nothing, for a row that sees the positions first .. last.</summary>
    public void Start(int first, int last)
    {
        (FirstPosition, LastPosition) = (first, last);
        TotalMax = float.NegativeInfinity;
        TotalSum = 0;
        new Span<float>(Total, paddedDim).Clear();
        StartSplit();
    }

    /// <summary>Takes the query, whose elements behind <paramref name="headDim"/> become zero.</summary>
    public void SetQuery(nint query, DType type, int headDim) => Elements.ToF32<TLanes>(query, type, Query, headDim);

    /// <summary>The positions of a tile that the row sees, counted from its start; none if End is not above First.</summary>
    public (int First, int End) VisibleIn(int tileStart) =>
        (Math.Max(0, FirstPosition - tileStart), Math.Min(TileSize, LastPosition - tileStart + 1));

    /// <summary>Products of the query with sixteen keys: each a sum over sixteen lanes, the lanes then added in the tree of <see cref="ILanes{TSelf}"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Multiply(float** keys, int j)
    {
        keys += j;
        TLanes.Store(TLanes.FinishSums(ProductsOfFour(keys), ProductsOfFour(keys + 1), ProductsOfFour(keys + 2), ProductsOfFour(keys + 3)), Weights + j);
    }

    /// <summary>Takes the positions first .. end - 1 of a tile, whose products are there, into maximum and sum. Products become weights.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void AddScores(int first, int end, in AttentionScoring scoring)
    {
        float* weights = Weights;
        int start = first / Lanes.Count * Lanes.Count, stop = Lanes.Padded(end);
        for (int j = start; j < stop; j += Lanes.Count) TLanes.Store(scoring.Scores(TLanes.Load(weights + j)), weights + j);
        new Span<float>(weights + start, first - start).Fill(float.NegativeInfinity);
        new Span<float>(weights + end, stop - end).Fill(float.NegativeInfinity);

        var largest = TLanes.Fill(float.NegativeInfinity);
        for (int j = start; j < stop; j += Lanes.Count) largest = TLanes.Max(TLanes.Load(weights + j), largest);
        float max = MathF.Max(SplitMax, TLanes.Largest(largest));
        TLanes decay = DecayTo(max, SplitMax), shift = TLanes.Fill(float.IsNegativeInfinity(max) ? 0 : max), sum = TLanes.Fill(0);
        for (int j = start; j < stop; j += Lanes.Count)
        {
            TLanes weight = LaneMath.Exp(TLanes.Load(weights + j) - shift);
            TLanes.Store(weight, weights + j);
            sum += weight;
        }

        TLanes.Store(TLanes.FusedMultiplyAdd(TLanes.Load(Sums), decay, sum), Sums);
        SplitMax = max;
        Decay = TLanes.Largest(decay); // every lane is the decay
    }

    /// <summary>Output · decay, then + weight · value in the order of the positions first .. end - 1 of a tile; 64 columns at most.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void AddValues(float** values, int first, int end, int column, int endColumn)
    {
        float* weights = Weights;
        if (endColumn - column == 4 * Lanes.Count)
        {
            LoadOutput(column, out TLanes o0, out TLanes o1, out TLanes o2, out TLanes o3);
            for (int j = first; j < end; j++)
            {
                TLanes weight = TLanes.Fill(weights[j]);
                float* value = values[j] + column;
                o0 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value), o0);
                o1 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value + 16), o1);
                o2 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value + 32), o2);
                o3 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value + 48), o3);
            }

            StoreOutput(column, o0, o1, o2, o3);
            return;
        }

        for (; column < endColumn; column += Lanes.Count)
        {
            TLanes o = LoadOutput(column);
            for (int j = first; j < end; j++) o = TLanes.FusedMultiplyAdd(TLanes.Fill(weights[j]), TLanes.Load(values[j] + column), o);
            StoreOutput(column, o);
        }
    }

    /// <summary>Sixteen columns of the split's output · decay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TLanes LoadOutput(int column) => TLanes.Load(Output + column) * TLanes.Fill(Decay);

    /// <summary>The same columns with values added.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreOutput(int column, TLanes o) => TLanes.Store(o, Output + column);

    /// <summary>64 columns of the split's output · decay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void LoadOutput(int column, out TLanes o0, out TLanes o1, out TLanes o2, out TLanes o3)
    {
        float* output = Output + column;
        TLanes decay = TLanes.Fill(Decay);
        (o0, o1) = (TLanes.Load(output) * decay, TLanes.Load(output + 16) * decay);
        (o2, o3) = (TLanes.Load(output + 32) * decay, TLanes.Load(output + 48) * decay);
    }

    /// <summary>The same columns with values added.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreOutput(int column, TLanes o0, TLanes o1, TLanes o2, TLanes o3)
    {
        float* output = Output + column;
        TLanes.Store(o0, output);
        TLanes.Store(o1, output + 16);
        TLanes.Store(o2, output + 32);
        TLanes.Store(o3, output + 48);
    }

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
        Copy(Total, slot + SlotOutputAt);
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
        TLanes sum = TLanes.Fill(HasTotal ? TotalSum : 1);
        for (int i = 0; i < headDim; i += Lanes.Count) Elements.Store(TLanes.Load(Total + i) / sum, result, type, i, headDim);
    }

    /// <summary>Natural logarithm of the sum of the exponentials of all scores; -∞ where the row saw nothing.</summary>
    public float LogSum() => HasTotal ? TotalMax + TLanes.Largest(LaneMath.Log(TLanes.Fill(TotalSum))) : float.NegativeInfinity;

    /// <summary>Whether no position was added. A sum of NaN is something.</summary>
    private static bool IsNothing(float max, float sum) => float.IsNegativeInfinity(max) && sum == 0;

    /// <summary>e^(old - max), the difference taken first; 1 while no position had a score.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes DecayTo(float max, float old) =>
        float.IsNegativeInfinity(max) ? TLanes.Fill(1) : LaneMath.Exp(TLanes.Fill(old - max));

    private void StartSplit()
    {
        SplitMax = float.NegativeInfinity;
        TLanes.Store(TLanes.Fill(0), Sums);
        new Span<float>(Output, paddedDim).Clear();
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
        for (int i = 0; i < paddedDim; i += Lanes.Count)
        {
            TLanes total = TLanes.Load(Total + i) * totalDecay;
            TLanes.Store(TLanes.FusedMultiplyAdd(TLanes.Load(output + i), splitDecay, total), Total + i);
        }

        TLanes sum = TLanes.FusedMultiplyAdd(TLanes.Fill(splitSum), splitDecay, TLanes.Fill(TotalSum) * totalDecay);
        TotalSum = TLanes.Largest(sum); // every lane is the sum
        TotalMax = max;
    }

    private void Copy(float* from, float* to) => new ReadOnlySpan<float>(from, paddedDim).CopyTo(new Span<float>(to, paddedDim));

    /// <summary>Of the keys 0, 4, 8 and 12 from here, so that the finished sums are in order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TLanes ProductsOfFour(float** keys)
    {
        float* query = Query, k0 = keys[0], k1 = keys[4], k2 = keys[8], k3 = keys[12];
        TLanes s0 = TLanes.Fill(0), s1 = s0, s2 = s0, s3 = s0;
        for (int i = 0; i < paddedDim; i += Lanes.Count)
        {
            TLanes q = TLanes.Load(query + i);
            s0 = TLanes.FusedMultiplyAdd(q, TLanes.Load(k0 + i), s0);
            s1 = TLanes.FusedMultiplyAdd(q, TLanes.Load(k1 + i), s1);
            s2 = TLanes.FusedMultiplyAdd(q, TLanes.Load(k2 + i), s2);
            s3 = TLanes.FusedMultiplyAdd(q, TLanes.Load(k3 + i), s3);
        }

        return TLanes.HalfSums(s0, s1, s2, s3);
    }
}
