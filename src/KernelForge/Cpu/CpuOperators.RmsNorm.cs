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
            (DType type, int columns) = (x.DType, x.Columns);
            for (int row = range.Start; row < range.End; row++)
            {
                nint source = x.RowAddress(row);
                var squares = TLanes.Fill(0);
                for (int i = 0; i < columns; i += Lanes.Count)
                {
                    TLanes value = Elements.Load<TLanes>(source, type, i, columns);
                    squares = TLanes.FusedMultiplyAdd(value, value, squares);
                }

                Normalize(source, type, squares, weight, epsilon, result, row);
            }
        }
    }

    private readonly struct AddRmsNormWork(DeviceMatrix x, DeviceMatrix residual, DeviceMatrix weight, float epsilon, DeviceMatrix result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(x.Rows, part, parts);
            (DType type, DType streamType, int columns) = (x.DType, residual.DType, x.Columns);
            for (int row = range.Start; row < range.End; row++)
            {
                nint source = x.RowAddress(row), stream = residual.RowAddress(row);
                var squares = TLanes.Fill(0);
                for (int i = 0; i < columns; i += Lanes.Count)
                {
                    TLanes sum = Elements.Load<TLanes>(stream, streamType, i, columns) + Elements.Load<TLanes>(source, type, i, columns);
                    Elements.Store(sum, stream, streamType, i, columns);
                    TLanes stored = Elements.Load<TLanes>(stream, streamType, i, columns);
                    squares = TLanes.FusedMultiplyAdd(stored, stored, squares);
                }

                Normalize(stream, streamType, squares, weight, epsilon, result, row);
            }
        }
    }

    private static void Normalize<TLanes>(
        nint source, DType type, TLanes squares, in DeviceMatrix weight, float epsilon, in DeviceMatrix result, int row) where TLanes : struct, ILanes<TLanes>
    {
        nint weights = weight.Address, destination = result.RowAddress(row);
        (DType weightType, DType resultType, int columns) = (weight.DType, result.DType, result.Columns);
        var factor = TLanes.Fill(1f / MathF.Sqrt(TLanes.Sum(squares) / columns + epsilon));
        for (int i = 0; i < columns; i += Lanes.Count)
        {
            TLanes scaled = Elements.Load<TLanes>(source, type, i, columns) * factor;
            Elements.Store(scaled * Elements.Load<TLanes>(weights, weightType, i, columns), destination, resultType, i, columns);
        }
    }
}
