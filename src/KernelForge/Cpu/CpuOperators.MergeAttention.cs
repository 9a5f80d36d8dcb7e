namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void MergeAttentionCore(in AttentionState a, in AttentionState b, in AttentionState result) =>
        RunRows(new MergeAttentionWork(a, b, result), a.Out.Rows, 2L * a.Out.Columns);

    private readonly struct MergeAttentionWork(AttentionState a, AttentionState b, AttentionState result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(a.Out.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                for (int head = 0; head < a.Lse.Columns; head++) MergeHead<TLanes>(row, head);
            }
        }

        private void MergeHead<TLanes>(int row, int head) where TLanes : struct, ILanes<TLanes>
        {
            float lseA = a.Lse.Row<float>(row)[head], lseB = b.Lse.Row<float>(row)[head], max = MathF.Max(lseA, lseB);
            bool isNothing = float.IsNegativeInfinity(max);
            TLanes shift = TLanes.Fill(isNothing ? 0 : max);
            TLanes weightA = LaneMath.Exp(TLanes.Fill(lseA) - shift), weightB = LaneMath.Exp(TLanes.Fill(lseB) - shift), sum = weightA + weightB;
            result.Lse.Row<float>(row)[head] = isNothing ? max : max + TLanes.Largest(LaneMath.Log(sum));
            if (!isNothing) (weightA, weightB) = (weightA / sum, weightB / sum);

            int headDim = a.Out.Columns / a.Lse.Columns;
            nint start = (nint)head * headDim * a.Out.DType.Size();
            nint outA = a.Out.RowAddress(row) + start, outB = b.Out.RowAddress(row) + start, destination = result.Out.RowAddress(row) + start;
            for (int i = 0; i < headDim; i += Lanes.Count)
            {
                TLanes merged = TLanes.FusedMultiplyAdd(
                    weightA, Elements.Load<TLanes>(outA, a.Out.DType, i, headDim), weightB * Elements.Load<TLanes>(outB, b.Out.DType, i, headDim));
                Elements.Store(merged, destination, result.Out.DType, i, headDim);
            }
        }
    }
}
