using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// The running softmax of one query row, over memory that its owner provides. The canon of the CPU: a tile is <see cref="TileSize"/> positions, a split
/// <see cref="SplitSize"/>, both at absolute positions. Every split starts from nothing, takes its tiles in ascending order and is folded into the total in
/// ascending order. These steps depend on the row's own query and positions only, so a row may be computed alone, with others, or be carried on after a
/// part of its tiles was added elsewhere: the bits are the same.
/// </summary>
/// <remarks>Online softmax: Milakov and Gimelshein, arXiv:1805.02867; fixed splits as in batch-invariant attention.</remarks>
internal readonly unsafe struct AttentionRow<TLanes>(float* memory, int paddedDim) where TLanes : struct, ILanes<TLanes>
{
    /// <summary>Positions of a tile.</summary>
    public const int TileSize = 64;

    /// <summary>Positions of a split; a whole number of tiles.</summary>
    public const int SplitSize = 512;

    // Memory: split maximum, total maximum, total sum (one vector) | split sum by lane | exponentials of a tile | query | split output | total output.
    private const int SumsAt = Lanes.Count, WeightsAt = 2 * Lanes.Count, QueryAt = WeightsAt + TileSize;

    private ref float SplitMax => ref memory[0];

    private ref float TotalMax => ref memory[1];

    private ref float TotalSum => ref memory[2];

    private float* Sums => memory + SumsAt;

    private float* Weights => memory + WeightsAt;

    private float* Query => memory + QueryAt;

    private float* Output => memory + QueryAt + paddedDim;

    private float* Total => memory + QueryAt + 2 * paddedDim;

    /// <summary>Numbers of memory that a row takes.</summary>
    public static int Length(int paddedDim) => QueryAt + 3 * paddedDim;

    /// <summary>Takes the query, whose elements behind <paramref name="headDim"/> become zero, and starts from no position.</summary>
    public void Start(nint query, DType type, int headDim)
    {
        for (int i = 0; i < paddedDim; i += Lanes.Count)
        {
            TLanes.Store(Elements.Load<TLanes>(query, type, i, headDim), Query + i);
            TLanes.Store(TLanes.Fill(0), Total + i);
        }

        TotalMax = float.NegativeInfinity;
        TotalSum = 0;
        StartSplit();
    }

    /// <summary>
    /// Adds the first <paramref name="visible"/> positions (1 .. 64) of a tile to the split. There are 64 addresses of keys, those that are not visible may be
    /// any that can be read; of the addresses of values only visible ones are used.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void AddTile(float** keys, float** values, int visible, float scale)
    {
        var largest = TLanes.Fill(float.NegativeInfinity);
        for (int j = 0; j < visible; j += Lanes.Count)
        {
            TLanes scores = TLanes.First(Scores(keys + j) * TLanes.Fill(scale), visible - j, float.NegativeInfinity);
            TLanes.Store(scores, Weights + j);
            largest = TLanes.Max(scores, largest);
        }

        float max = MathF.Max(SplitMax, TLanes.Largest(largest));
        TLanes decay = DecayTo(max, SplitMax), shift = TLanes.Fill(float.IsNegativeInfinity(max) ? 0 : max), sum = TLanes.Fill(0);
        for (int j = 0; j < visible; j += Lanes.Count)
        {
            TLanes weights = LaneMath.Exp(TLanes.Load(Weights + j) - shift);
            TLanes.Store(weights, Weights + j);
            sum += weights;
        }

        TLanes.Store(TLanes.FusedMultiplyAdd(TLanes.Load(Sums), decay, sum), Sums);
        SplitMax = max;
        AddValues(values, visible, decay);
    }

    /// <summary>Adds the split to the total and starts the next one.</summary>
    public void FoldSplit()
    {
        float max = MathF.Max(TotalMax, SplitMax);
        TLanes totalDecay = DecayTo(max, TotalMax), splitDecay = DecayTo(max, SplitMax);
        for (int i = 0; i < paddedDim; i += Lanes.Count)
        {
            TLanes total = TLanes.Load(Total + i) * totalDecay;
            TLanes.Store(TLanes.FusedMultiplyAdd(TLanes.Load(Output + i), splitDecay, total), Total + i);
        }

        TLanes sum = TLanes.FusedMultiplyAdd(TLanes.Fill(TLanes.Sum(TLanes.Load(Sums))), splitDecay, TLanes.Fill(TotalSum) * totalDecay);
        TotalSum = TLanes.Largest(sum); // every lane is the sum
        TotalMax = max;
        StartSplit();
    }

    /// <summary>Writes the total over its sum.</summary>
    public void Finish(nint result, DType type, int headDim)
    {
        TLanes sum = TLanes.Fill(TotalSum);
        for (int i = 0; i < headDim; i += Lanes.Count) Elements.Store(TLanes.Load(Total + i) / sum, result, type, i, headDim);
    }

    private void StartSplit()
    {
        SplitMax = float.NegativeInfinity;
        TLanes.Store(TLanes.Fill(0), Sums);
        for (int i = 0; i < paddedDim; i += Lanes.Count) TLanes.Store(TLanes.Fill(0), Output + i);
    }

    /// <summary>e^(old - max), the difference taken first; 1 while no position had a score.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes DecayTo(float max, float old) =>
        float.IsNegativeInfinity(max) ? TLanes.Fill(1) : LaneMath.Exp(TLanes.Fill(old - max));

    /// <summary>Query times sixteen keys: each a sum over sixteen lanes, the lanes then added in the tree of <see cref="ILanes{TSelf}"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TLanes Scores(float** keys) =>
        TLanes.FinishSums(ScoresOfFour(keys), ScoresOfFour(keys + 1), ScoresOfFour(keys + 2), ScoresOfFour(keys + 3));

    /// <summary>The keys 0, 4, 8 and 12 from here, so that the finished sums are in order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TLanes ScoresOfFour(float** keys)
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

    /// <summary>Output · decay, then + weight · value in the order of the positions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void AddValues(float** values, int visible, TLanes decay)
    {
        float* weights = Weights, output = Output;
        int i = 0;
        for (; i <= paddedDim - 4 * Lanes.Count; i += 4 * Lanes.Count)
        {
            TLanes o0 = TLanes.Load(output + i) * decay, o1 = TLanes.Load(output + i + 16) * decay;
            TLanes o2 = TLanes.Load(output + i + 32) * decay, o3 = TLanes.Load(output + i + 48) * decay;
            for (int j = 0; j < visible; j++)
            {
                TLanes weight = TLanes.Fill(weights[j]);
                float* value = values[j] + i;
                o0 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value), o0);
                o1 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value + 16), o1);
                o2 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value + 32), o2);
                o3 = TLanes.FusedMultiplyAdd(weight, TLanes.Load(value + 48), o3);
            }

            TLanes.Store(o0, output + i);
            TLanes.Store(o1, output + i + 16);
            TLanes.Store(o2, output + i + 32);
            TLanes.Store(o3, output + i + 48);
        }

        for (; i < paddedDim; i += Lanes.Count)
        {
            TLanes o = TLanes.Load(output + i) * decay;
            for (int j = 0; j < visible; j++) o = TLanes.FusedMultiplyAdd(TLanes.Fill(weights[j]), TLanes.Load(values[j] + i), o);
            TLanes.Store(o, output + i);
        }
    }
}
