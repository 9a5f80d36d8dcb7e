using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// A row of logits with its largest one and a temperature: a token's score is (logit - largest) / temperature, e^score its likelihood relative to
/// the likeliest.
/// </summary>
internal readonly unsafe struct ScaledLogits<TLanes>(float* logits, int length, float largest, float temperature) where TLanes : struct, ILanes<TLanes>
{
    public int Length => length;

    /// <summary>Logits index .. index + 15; zero behind the end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TLanes Load(int index) => Elements.Load<TLanes>((nint)logits, DType.F32, index, length);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TLanes Score(TLanes logit) => (logit - TLanes.Fill(largest)) / TLanes.Fill(temperature);

    public ulong Key(int id) => TopTokens.Key(logits[id], id);

    /// <summary>
    /// Σ e^score over scores not below <paramref name="lowest"/>: sixteen at a time in F32 by the tree of the lanes, these in ascending order in double precision.
    /// </summary>
    public double SumOfExp(float lowest = float.NegativeInfinity)
    {
        double total = 0;
        TLanes nothing = TLanes.Fill(float.NegativeInfinity), bound = TLanes.Fill(lowest);
        for (int i = 0; i < length; i += Lanes.Count)
        {
            TLanes score = TLanes.Max(TLanes.First(Score(Load(i)), length - i, float.NegativeInfinity), nothing); // NaN becomes negative infinity
            total += TLanes.Sum(LaneMath.Exp(TLanes.SelectLess(score, bound, nothing, score)));
        }

        return total;
    }

    /// <summary>The k best tokens, in any order but the worst of them first.</summary>
    public void SelectTop(Span<ulong> best) => TopTokens.Select<TLanes>(logits, length, best);

    /// <summary>Keys of the tokens whose score is not below <paramref name="lowest"/>; returns how many.</summary>
    public int Collect(float lowest, Span<ulong> keys)
    {
        int count = 0;
        TLanes bound = TLanes.Fill(lowest);
        for (int i = 0; i < length; i += Lanes.Count)
        {
            uint mask = TLanes.GreaterOrEqual(Score(Load(i)), bound);
            for (int id = i; mask != 0 && id < length; id++, mask >>= 1)
                if ((mask & 1) != 0) keys[count++] = Key(id);
        }

        return count;
    }

    /// <summary>
    /// Index of the first of some tokens at which the sum of e^score, in double precision and in the order given, reaches <paramref name="target"/>;
    /// their number if it does not. <paramref name="sum"/> is the sum so far.
    /// </summary>
    public int Reach(ReadOnlySpan<ulong> keys, double target, out double sum)
    {
        float* chunk = stackalloc float[Lanes.Count];
        sum = 0;
        for (int i = 0; i < keys.Length; i += Lanes.Count)
        {
            int count = Math.Min(Lanes.Count, keys.Length - i);
            for (int j = 0; j < Lanes.Count; j++) chunk[j] = j < count ? TopTokens.Logit(keys[i + j]) : largest;
            TLanes.Store(LaneMath.Exp(Score(TLanes.Load(chunk))), chunk);
            for (int j = 0; j < count; j++)
            {
                sum += chunk[j];
                if (sum >= target) return i + j;
            }
        }

        return keys.Length;
    }
}
