namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void SampleTopCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        CheckSampling("SampleTop", rows);
        RunRows(new SampleTopWork(threads, logits, rows, result), logits.Rows, (long)SiluCost * logits.Columns);
    }

    private readonly struct SampleTopWork(CpuThreads threads, DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            int columns = logits.Columns, count = result.Length / logits.Rows;
            var room = new Span<ulong>(threads.Scratch(part, (long)columns * sizeof(ulong)), columns);
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                var logit = (float*)logits.RowAddress(row);
                float largest = LargestOf<TLanes, float>(logit, columns);
                int likeliest = FirstOf<TLanes, float>(logit, columns, largest);
                Span<int> tokens = result.OnCpu.Slice(row * count, count);
                if (IsCertain(rows.OnCpu[row], largest)) TakeLargest<TLanes>(logit, columns, likeliest, room[..count], tokens);
                else TakeWinners(new ScaledLogits<TLanes>(logit, columns, largest, rows.OnCpu[row].Temperature), rows.OnCpu[row], likeliest, room, tokens);
            }
        }

        /// <summary>The likeliest token, then those with the next largest logits.</summary>
        private static void TakeLargest<TLanes>(float* logits, int length, int likeliest, Span<ulong> best, Span<int> tokens) where TLanes : struct, ILanes<TLanes>
        {
            TopTokens.Select<TLanes>(logits, length, best);
            best.Sort();
            tokens[0] = likeliest;
            for (int i = 1; i < tokens.Length; i++) tokens[i] = float.IsNegativeInfinity(TopTokens.Logit(best[i])) ? -1 : TopTokens.Id(best[i]);
        }

        private static void TakeWinners<TLanes>(in ScaledLogits<TLanes> logits, in SamplingRow row, int likeliest, Span<ulong> room, Span<int> tokens)
            where TLanes : struct, ILanes<TLanes>
        {
            TokenFilter<TLanes> filter = SamplingFilter.Of(logits, row, room);
            ulong key = 0;
            for (int i = 0; i < tokens.Length; i++)
            {
                if (key != NoToken) key = Race(filter, new GumbelNoise(row.Seed, row.Position), likeliest, key);
                tokens[i] = key == NoToken ? -1 : TopTokens.Id(key);
            }
        }
    }
}
