using System.Buffers;

namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void LogProbsCore(
        in DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs)
    {
        foreach (int token in chosen.OnCpu)
            Check.That((uint)token < (uint)logits.Columns, $"LogProbs: chosen token {token}, logits is {logits}");
        RunRows(new LogProbsWork(logits, chosen, chosenLogProbs, topTokens, topLogProbs), logits.Rows, (long)SiluCost * logits.Columns);
    }

    private readonly struct LogProbsWork(
        DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            int top = topTokens.Length / logits.Rows;
            ulong[] scratch = ArrayPool<ulong>.Shared.Rent(top);
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                float* logit = (float*)logits.RowAddress(row);
                float largest = LargestOf<TLanes>((nint)logit, DType.F32, logits.Columns);
                var logSum = (float)Math.Log(SumOfExp<TLanes>(logit, logits.Columns, largest, temperature: 1));
                chosenLogProbs.OnCpu[row] = logit[chosen.OnCpu[row]] - largest - logSum;

                Span<ulong> best = scratch.AsSpan(0, top);
                TopTokens.Select<TLanes>(logit, logits.Columns, best);
                best.Sort();
                for (int i = 0; i < top; i++)
                {
                    topTokens.OnCpu[row * top + i] = TopTokens.Id(best[i]);
                    topLogProbs.OnCpu[row * top + i] = TopTokens.Logit(best[i]) - largest - logSum;
                }
            }

            ArrayPool<ulong>.Shared.Return(scratch);
        }
    }

    /// <summary>Σ exp((logit - largest) / temperature): sixteen at a time in F32 by the tree of the lanes, those in ascending order in double precision.</summary>
    private static double SumOfExp<TLanes>(float* logits, int length, float largest, float temperature) where TLanes : struct, ILanes<TLanes>
    {
        double total = 0;
        TLanes shift = TLanes.Fill(largest), divisor = TLanes.Fill(temperature);
        for (int i = 0; i < length; i += Lanes.Count)
        {
            TLanes exponent = (Elements.Load<TLanes>((nint)logits, DType.F32, i, length) - shift) / divisor;
            total += TLanes.Sum(LaneMath.Exp(TLanes.First(exponent, length - i, float.NegativeInfinity)));
        }

        return total;
    }
}
