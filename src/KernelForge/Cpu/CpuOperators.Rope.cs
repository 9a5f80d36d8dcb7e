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
            int headBytes = angles.Columns * x.DType.Size();
            for (int row = range.Start; row < range.End; row++)
            {
                nint angle = angles.RowAddress(positions.OnCpu[row]), head = x.RowAddress(row);
                for (int column = 0; column < x.Columns; column += angles.Columns, head += headBytes)
                    Rotate<TLanes>(head, angle);
            }
        }

        private void Rotate<TLanes>(nint head, nint cosines) where TLanes : struct, ILanes<TLanes>
        {
            int half = angles.Columns / 2;
            nint second = head + half * x.DType.Size(), sines = cosines + half * sizeof(float);
            for (int i = 0; i < half; i += Lanes.Count)
            {
                TLanes a = Elements.Load<TLanes>(head, x.DType, i, half), b = Elements.Load<TLanes>(second, x.DType, i, half);
                TLanes cos = Elements.Load<TLanes>(cosines, DType.F32, i, half), sin = Elements.Load<TLanes>(sines, DType.F32, i, half);
                Elements.Store((a * cos) - (b * sin), head, x.DType, i, half);
                Elements.Store((b * cos) + (a * sin), second, x.DType, i, half);
            }
        }
    }
}
