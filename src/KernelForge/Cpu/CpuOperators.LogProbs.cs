namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void LogProbsCore(
        in DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs)
    {
        foreach (int token in chosen.OnCpu)
            Check.That((uint)token < (uint)logits.Columns, $"LogProbs: chosen token {token}, logits is {logits}");
        RunRows(new LogProbsWork(threads, logits, chosen, chosenLogProbs, topTokens, topLogProbs), logits.Rows, (long)SiluCost * logits.Columns);
    }

    private readonly struct LogProbsWork(
        CpuThreads threads, DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs,
        DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            int top = topTokens.Length / logits.Rows;
            var best = new Span<ulong>(threads.Scratch(part, (long)top * sizeof(ulong)), top);
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                float* logit = (float*)logits.RowAddress(row);
                float largest = LargestOf<TLanes, float>(logit, logits.Columns);
                var logSum = (float)Math.Log(new ScaledLogits<TLanes>(logit, logits.Columns, largest, temperature: 1).SumOfExp());
                chosenLogProbs.OnCpu[row] = logit[chosen.OnCpu[row]] - largest - logSum;

                TopTokens.Select<TLanes>(logit, logits.Columns, best);
                best.Sort();
                for (int i = 0; i < top; i++)
                {
                    topTokens.OnCpu[row * top + i] = TopTokens.Id(best[i]);
                    topLogProbs.OnCpu[row * top + i] = TopTokens.Logit(best[i]) - largest - logSum;
                }
            }
        }
    }
}
