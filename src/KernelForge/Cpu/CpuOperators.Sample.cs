using System.Numerics;

namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    /// <summary>Behind the key of every token.</summary>
    private const ulong NoToken = ulong.MaxValue;

    protected override void SampleCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        CheckSampling("Sample", rows);
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
        float largest = LargestOf<TLanes, float>(logits, length);
        int likeliest = FirstOf<TLanes, float>(logits, length, largest);
        if (IsCertain(row, largest)) return likeliest;

        var scaled = new ScaledLogits<TLanes>(logits, length, largest, row.Temperature);
        return TopTokens.Id(Race(SamplingFilter.Of(scaled, row, room), new GumbelNoise(row.Seed, row.Position), likeliest));
    }

    /// <summary>Whether the likeliest token is the draw.</summary>
    private static bool IsCertain(in SamplingRow row, float largest) => row.Temperature == 0 || !float.IsFinite(largest);

    /// <summary>
    /// The least <see cref="TopTokens.Key"/> behind one, 0 for the first, of score + noise over the tokens that a filter leaves, the likeliest token among them: the
    /// next in the order in which they win; <see cref="NoToken"/> when there is none. Noise is bounded, so sixteen tokens that cannot win cost no random number.
    /// </summary>
    private static ulong Race<TLanes>(in TokenFilter<TLanes> filter, GumbelNoise noise, int likeliest, ulong behind = 0) where TLanes : struct, ILanes<TLanes>
    {
        ScaledLogits<TLanes> logits = filter.Logits;
        TLanes reach = TLanes.Fill(GumbelNoise.Largest);
        float* totals = stackalloc float[Lanes.Count];
        TLanes.Store(noise.Next<TLanes>(likeliest / Lanes.Count * Lanes.Count), totals);
        float best = totals[likeliest % Lanes.Count];
        ulong winner = TopTokens.Key(best, likeliest);
        if (winner <= behind) (best, winner) = (float.NegativeInfinity, NoToken);

        for (int i = 0; i < logits.Length; i += Lanes.Count)
        {
            TLanes logit = logits.Load(i), score = logits.Score(logit);
            uint mask = TLanes.GreaterOrEqual(score + reach, TLanes.Fill(best));
            if (mask != 0) mask &= filter.Left(i, logit, score);
            if (mask == 0) continue;
            TLanes.Store(score + noise.Next<TLanes>(i), totals);
            for (; mask != 0; mask &= mask - 1)
            {
                int lane = BitOperations.TrailingZeroCount(mask);
                if (totals[lane] < best) continue;
                ulong key = TopTokens.Key(totals[lane], i + lane);
                if (key > behind && key < winner) (best, winner) = (totals[lane], key);
            }
        }

        return winner;
    }

    private static void CheckSampling(string operation, DeviceSpan<SamplingRow> rows)
    {
        foreach (SamplingRow row in rows.OnCpu)
        {
            Check.That(row.Temperature >= 0 && float.IsFinite(row.Temperature) && row.TopK >= 0 && row.TopP is >= 0 and <= 1 && row.MinP is >= 0 and <= 1,
                $"{operation}: {row}; expected a finite temperature and a top-k of 0 or more, top-p and min-p in 0 .. 1");
        }
    }
}
