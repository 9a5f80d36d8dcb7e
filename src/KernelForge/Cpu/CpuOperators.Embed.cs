namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void EmbedCore(DeviceSpan<int> rows, in DeviceMatrix table, in DeviceMatrix result)
    {
        foreach (int row in rows.OnCpu)
            Check.That((uint)row < (uint)table.Rows, $"Embed: row {row} asked, table is {table}");
        RunRows(new EmbedWork(rows, table, result), result.Rows, result.Columns);
    }

    private readonly struct EmbedWork(DeviceSpan<int> rows, DeviceMatrix table, DeviceMatrix result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(result.Rows, part, parts);
            ReadOnlySpan<int> sources = rows.OnCpu;
            for (int row = range.Start; row < range.End; row++)
                Elements.Convert<TLanes>(table.RowAddress(sources[row]), table.DType, result.RowAddress(row), result.DType, result.Columns);
        }
    }
}
