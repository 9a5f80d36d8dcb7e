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

        RunRows(new SampleWork(logits, rows, result), logits.Rows, (long)SiluCost * logits.Columns);
    }

    private readonly struct SampleWork(DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
                result.OnCpu[row] = Draw<TLanes>((float*)logits.RowAddress(row), logits.Columns, rows.OnCpu[row]);
        }
    }

    private static int Draw<TLanes>(float* logits, int length, in SamplingRow row) where TLanes : struct, ILanes<TLanes>
    {
        float largest = LargestOf<TLanes>((nint)logits, DType.F32, length);
        int likeliest = FirstOf<TLanes>((nint)logits, DType.F32, length, largest);
        if (row.Temperature == 0 || !float.IsFinite(largest)) return likeliest;
        if (row.TopK == 0 && row.TopP == 1 && row.MinP == 0) return DrawFromAll<TLanes>(logits, length, row, largest, likeliest);
        throw new NotSupportedException("filters");
    }

    /// <summary>Argmax of (logit - largest) / temperature + noise. Noise is bounded, so sixteen tokens that cannot win cost no random number.</summary>
    private static int DrawFromAll<TLanes>(float* logits, int length, in SamplingRow row, float largest, int likeliest) where TLanes : struct, ILanes<TLanes>
    {
        var noise = new GumbelNoise(row.Seed, row.Position);
        TLanes shift = TLanes.Fill(largest), temperature = TLanes.Fill(row.Temperature), reach = TLanes.Fill(GumbelNoise.Largest);
        float* totals = stackalloc float[Lanes.Count];
        TLanes.Store(noise.Next<TLanes>(likeliest / Lanes.Count * Lanes.Count), totals);
        (float best, int token) = (totals[likeliest % Lanes.Count], likeliest);

        for (int i = 0; i < length; i += Lanes.Count)
        {
            TLanes score = (Elements.Load<TLanes>((nint)logits, DType.F32, i, length) - shift) / temperature;
            uint mask = TLanes.GreaterOrEqual(score + reach, TLanes.Fill(best)) & Present(length - i);
            if (mask == 0) continue;
            TLanes total = score + noise.Next<TLanes>(i);
            TLanes.Store(total, totals);
            for (mask &= TLanes.GreaterOrEqual(total, TLanes.Fill(best)); mask != 0; mask &= mask - 1)
            {
                int lane = BitOperations.TrailingZeroCount(mask);
                if (totals[lane] > best || (totals[lane] == best && i + lane < token)) (best, token) = (totals[lane], i + lane);
            }
        }

        return token;
    }
}
