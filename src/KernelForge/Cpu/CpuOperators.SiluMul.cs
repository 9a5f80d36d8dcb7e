namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    /// <summary>An exponential and a division cost as much as moving several elements.</summary>
    private const int SiluCost = 4;

    protected override void SiluMulCore(in DeviceMatrix gate, in DeviceMatrix up, in DeviceMatrix result) =>
        RunRows(new SiluMulWork(gate, up, result), gate.Rows, (long)SiluCost * gate.Columns);

    private readonly struct SiluMulWork(DeviceMatrix gate, DeviceMatrix up, DeviceMatrix result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(gate.Rows, part, parts);
            (DType gateType, DType upType, DType type, int columns) = (gate.DType, up.DType, result.DType, gate.Columns);
            for (int row = range.Start; row < range.End; row++)
            {
                nint gates = gate.RowAddress(row), ups = up.RowAddress(row), destination = result.RowAddress(row);
                for (int i = 0; i < columns; i += Lanes.Count)
                {
                    TLanes g = Elements.Load<TLanes>(gates, gateType, i, columns);
                    TLanes u = Elements.Load<TLanes>(ups, upType, i, columns);
                    Elements.Store(LaneMath.Silu(g) * u, destination, type, i, columns);
                }
            }
        }
    }
}
