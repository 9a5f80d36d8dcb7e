using System.Numerics;

namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void ArgMaxCore(in DeviceMatrix logits, DeviceSpan<int> result) =>
        RunRows(new ArgMaxWork(logits, result), logits.Rows, logits.Columns);

    private readonly struct ArgMaxWork(DeviceMatrix logits, DeviceSpan<int> result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                nint address = logits.RowAddress(row);
                float largest = LargestOf<TLanes>(address, logits.DType, logits.Columns);
                result.OnCpu[row] = FirstOf<TLanes>(address, logits.DType, logits.Columns, largest);
            }
        }
    }

    /// <summary>The largest element of a row; NaN does not count, and negative infinity is the least.</summary>
    private static float LargestOf<TLanes>(nint row, DType type, int length) where TLanes : struct, ILanes<TLanes>
    {
        var best = TLanes.Fill(float.NegativeInfinity);
        int whole = length / Lanes.Count * Lanes.Count;
        for (int i = 0; i < whole; i += Lanes.Count) best = TLanes.Max(Elements.Load<TLanes>(row, type, i), best);
        if (whole < length)
        {
            TLanes tail = Elements.Load<TLanes>(row, type, whole, length);
            best = TLanes.Max(TLanes.First(tail, length - whole, float.NegativeInfinity), best);
        }

        return TLanes.Largest(best);
    }

    /// <summary>Index of the first element that is not below <paramref name="bound"/>; 0 if there is none.</summary>
    private static int FirstOf<TLanes>(nint row, DType type, int length, float bound) where TLanes : struct, ILanes<TLanes>
    {
        var bounds = TLanes.Fill(bound);
        for (int i = 0; i < length; i += Lanes.Count)
        {
            uint mask = TLanes.GreaterOrEqual(Elements.Load<TLanes>(row, type, i, length), bounds) & Lanes.Present(length - i);
            if (mask != 0) return i + BitOperations.TrailingZeroCount(mask);
        }

        return 0;
    }
}
