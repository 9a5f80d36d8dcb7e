using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void RopeCore(in DeviceMatrix x, DeviceSpan<int> positions, in DeviceMatrix angles)
    {
        foreach (int position in positions.OnCpu)
            Check.That((uint)position < (uint)angles.Rows, $"Rope: position {position}, angles is {angles}");
        RunRows(new RopeWork(x, positions, angles), x.Rows, x.Columns);
    }

    private readonly struct RopeWork(DeviceMatrix x, DeviceSpan<int> positions, DeviceMatrix angles) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(x.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                nint angle = angles.RowAddress(positions.OnCpu[row]);
                TypedLoop.Run(new RotateLoop<TLanes>(x.RowAddress(row), x.Columns, (float*)angle, angles.Columns / 2), x.DType, x.DType);
            }
        }
    }

    /// <summary>Rotates each head of a row: element i with element i + half.</summary>
    private readonly struct RotateLoop<TLanes>(nint row, int columns, float* cosines, int half) : ITypedLoop where TLanes : struct, ILanes<TLanes>
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run<T, TSame, TNone>() where T : unmanaged where TSame : unmanaged where TNone : unmanaged
        {
            float* cos = cosines, sin = cosines + half;
            int whole = Lanes.Whole(half);
            for (T* head = (T*)row, end = head + columns; head < end; head += 2 * half)
            {
                T* second = head + half;
                for (int i = 0; i < whole; i += Lanes.Count)
                {
                    TLanes a = TLanes.Load(head + i), b = TLanes.Load(second + i), c = TLanes.Load(cos + i), s = TLanes.Load(sin + i);
                    TLanes.Store((a * c) - (b * s), head + i);
                    TLanes.Store((b * c) + (a * s), second + i);
                }
                if (whole < half) RotateTail(head + whole, second + whole, whole);
            }
        }

        private void RotateTail<T>(T* first, T* second, int whole) where T : unmanaged
        {
            int left = half - whole;
            TLanes a = Elements.LoadTail<TLanes, T>(first, left), b = Elements.LoadTail<TLanes, T>(second, left);
            TLanes c = Elements.LoadTail<TLanes, float>(cosines + whole, left), s = Elements.LoadTail<TLanes, float>(cosines + half + whole, left);
            Elements.StoreTail((a * c) - (b * s), first, left);
            Elements.StoreTail((b * c) + (a * s), second, left);
        }
    }
}
