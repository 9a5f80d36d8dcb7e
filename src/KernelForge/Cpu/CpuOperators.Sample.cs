using System.Numerics;

namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void SampleCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        foreach (SamplingRow row in rows.OnCpu)
        {
            Check.That(row.Temperature >= 0 && float.IsFinite(row.Temperature) && row.TopK >= 0 && row.TopP is >= 0 and <= 1 && row.MinP is >= 0 and <= 1,
                $"Sample: {row}; expected a finite temperature and a top-k of 0 or more, top-p and min-p in 0 .. 1");
        }

        RunRows(new SampleWork(threads, logits, rows, result), logits.Rows, (long)SiluCost * logits.Columns);
    }

    private readonly struct SampleWork(CpuThreads threads, DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            var room = new Span<ulong>(threads.Scratch(part, (long)logits.Columns * sizeof(ulong)), logits.Columns);
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
                result.OnCpu[row] = Draw<TLanes>((float*)logits.RowAddress(row), logits.Columns, rows.OnCpu[row], room);
        }
    }

    private static int Draw<TLanes>(float* logits, int length, in SamplingRow row, Span<ulong> room) where TLanes : struct, ILanes<TLanes>
    {
        float largest = LargestOf<TLanes>((nint)logits, DType.F32, length);
        int likeliest = FirstOf<TLanes>((nint)logits, DType.F32, length, largest);
        if (row.Temperature == 0 || !float.IsFinite(largest)) return likeliest;

        var scaled = new ScaledLogits<TLanes>(logits, length, largest, row.Temperature);
        ulong last = SamplingFilter.Last(scaled, row.TopK, row.TopP, room);
        float lowest = row.MinP == 0 ? float.NegativeInfinity : (float)Math.Log(row.MinP);
        return Race(scaled, new GumbelNoise(row.Seed, row.Position), likeliest, last, lowest);
    }

    /// <summary>
    /// Argmax of score + noise over the tokens up to <paramref name="last"/> in the order of <see cref="TopTokens"/> whose score is not below
    /// <paramref name="lowest"/>. Noise is bounded, so sixteen tokens that cannot win cost no random number.
    /// </summary>
    private static int Race<TLanes>(in ScaledLogits<TLanes> logits, GumbelNoise noise, int likeliest, ulong last, float lowest) where TLanes : struct, ILanes<TLanes>
    {
        TLanes reach = TLanes.Fill(GumbelNoise.Largest), lowestScore = TLanes.Fill(lowest), lowestLogit = TLanes.Fill(TopTokens.Logit(last));
        float* totals = stackalloc float[Lanes.Count];
        TLanes.Store(noise.Next<TLanes>(likeliest / Lanes.Count * Lanes.Count), totals);
        (float best, int token) = (totals[likeliest % Lanes.Count], likeliest);

        for (int i = 0; i < logits.Length; i += Lanes.Count)
        {
            TLanes logit = logits.Load(i), score = logits.Score(logit);
            uint mask = TLanes.GreaterOrEqual(score + reach, TLanes.Fill(best)) & TLanes.GreaterOrEqual(logit, lowestLogit)
                & TLanes.GreaterOrEqual(score, lowestScore) & Present(logits.Length - i);
            if (mask == 0) continue;
            TLanes.Store(score + noise.Next<TLanes>(i), totals);
            for (; mask != 0; mask &= mask - 1)
            {
                int lane = BitOperations.TrailingZeroCount(mask), id = i + lane;
                bool wins = totals[lane] > best || (totals[lane] == best && id < token);
                if (wins && logits.Key(id) <= last) (best, token) = (totals[lane], id);
            }
        }

        return token;
    }
}
