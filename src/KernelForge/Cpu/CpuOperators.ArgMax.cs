using System.Numerics;
using System.Runtime.CompilerServices;

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
            fixed (int* chosen = result.OnCpu)
                for (int row = range.Start; row < range.End; row++)
                    TypedLoop.Run(new ArgMaxLoop<TLanes>(logits.RowAddress(row), logits.Columns, chosen + row), logits.DType, logits.DType);
        }
    }

    private readonly struct ArgMaxLoop<TLanes>(nint row, int length, int* result) : ITypedLoop where TLanes : struct, ILanes<TLanes>
    {
        public void Run<T, TSame, TNone>() where T : unmanaged where TSame : unmanaged where TNone : unmanaged =>
            *result = FirstOf<TLanes, T>((T*)row, length, LargestOf<TLanes, T>((T*)row, length));
    }

    /// <summary>The largest element of a row; NaN does not count, and negative infinity is the least.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float LargestOf<TLanes, T>(T* row, int length) where TLanes : struct, ILanes<TLanes> where T : unmanaged
    {
        var best = TLanes.Fill(float.NegativeInfinity);
        int whole = Lanes.Whole(length);
        for (int i = 0; i < whole; i += Lanes.Count) best = TLanes.Max(TLanes.Load(row + i), best);
        if (whole == length) return TLanes.Largest(best);
        TLanes tail = TLanes.First(Elements.LoadTail<TLanes, T>(row + whole, length - whole), length - whole, float.NegativeInfinity);
        return TLanes.Largest(TLanes.Max(tail, best));
    }

    /// <summary>Index of the first element that is not below <paramref name="bound"/>; 0 if there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static int FirstOf<TLanes, T>(T* row, int length, float bound) where TLanes : struct, ILanes<TLanes> where T : unmanaged
    {
        var bounds = TLanes.Fill(bound);
        int whole = Lanes.Whole(length);
        for (int i = 0; i < whole; i += Lanes.Count)
        {
            uint mask = TLanes.GreaterOrEqual(TLanes.Load(row + i), bounds);
            if (mask != 0) return i + BitOperations.TrailingZeroCount(mask);
        }
        if (whole == length) return 0;
        uint last = TLanes.GreaterOrEqual(Elements.LoadTail<TLanes, T>(row + whole, length - whole), bounds) & Lanes.Present(length - whole);
        return last == 0 ? 0 : whole + BitOperations.TrailingZeroCount(last);
    }
}
