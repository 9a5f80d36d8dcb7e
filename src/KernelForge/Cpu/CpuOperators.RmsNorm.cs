namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void RmsNormCore(in DeviceMatrix x, in DeviceMatrix weight, float epsilon, in DeviceMatrix result) =>
        RunRows(new RmsNormWork(x, weight, epsilon, result), x.Rows, x.Columns);

    protected override void AddRmsNormCore(in DeviceMatrix x, in DeviceMatrix residual, in DeviceMatrix weight, float epsilon, in DeviceMatrix result) =>
        RunRows(new AddRmsNormWork(x, residual, weight, epsilon, result), x.Rows, x.Columns);

    private readonly struct RmsNormWork(DeviceMatrix x, DeviceMatrix weight, float epsilon, DeviceMatrix result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(x.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                nint source = x.RowAddress(row);
                var squares = TLanes.Fill(0);
                for (int i = 0; i < x.Columns; i += Lanes.Count)
                {
                    TLanes value = Elements.Load<TLanes>(source, x.DType, i, x.Columns);
                    squares = TLanes.FusedMultiplyAdd(value, value, squares);
                }

                Normalize(source, x.DType, squares, weight, epsilon, result, row);
            }
        }
    }

    private readonly struct AddRmsNormWork(DeviceMatrix x, DeviceMatrix residual, DeviceMatrix weight, float epsilon, DeviceMatrix result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(x.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                nint source = x.RowAddress(row), stream = residual.RowAddress(row);
                var squares = TLanes.Fill(0);
                for (int i = 0; i < x.Columns; i += Lanes.Count)
                {
                    TLanes sum = Elements.Load<TLanes>(stream, residual.DType, i, x.Columns) + Elements.Load<TLanes>(source, x.DType, i, x.Columns);
                    Elements.Store(sum, stream, residual.DType, i, x.Columns);
                    TLanes stored = Elements.Load<TLanes>(stream, residual.DType, i, x.Columns);
                    squares = TLanes.FusedMultiplyAdd(stored, stored, squares);
                }

                Normalize(stream, residual.DType, squares, weight, epsilon, result, row);
            }
        }
    }

    private static void Normalize<TLanes>(
        nint source, DType type, TLanes squares, in DeviceMatrix weight, float epsilon, in DeviceMatrix result, int row) where TLanes : struct, ILanes<TLanes>
    {
        nint weights = weight.Address, destination = result.RowAddress(row);
        var factor = TLanes.Fill(1f / MathF.Sqrt(TLanes.Sum(squares) / result.Columns + epsilon));
        for (int i = 0; i < result.Columns; i += Lanes.Count)
        {
            TLanes scaled = Elements.Load<TLanes>(source, type, i, result.Columns) * factor;
            Elements.Store(scaled * Elements.Load<TLanes>(weights, weight.DType, i, result.Columns), destination, result.DType, i, result.Columns);
        }
    }
}
