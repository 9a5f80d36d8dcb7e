using System.Runtime.CompilerServices;

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
            for (int row = range.Start; row < range.End; row++) Normalize<TLanes>(x, weight, epsilon, result, row);
        }
    }

    private readonly struct AddRmsNormWork(DeviceMatrix x, DeviceMatrix residual, DeviceMatrix weight, float epsilon, DeviceMatrix result) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange range = RowRange.Of(x.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                TypedLoop.Run(new AddLoop<TLanes>(x.RowAddress(row), residual.RowAddress(row), x.Columns), x.DType, residual.DType);
                Normalize<TLanes>(residual, weight, epsilon, result, row);
            }
        }
    }

    private static void Normalize<TLanes>(in DeviceMatrix source, in DeviceMatrix weight, float epsilon, in DeviceMatrix result, int row)
        where TLanes : struct, ILanes<TLanes> =>
        TypedLoop.Run(new NormalizeLoop<TLanes>(source.RowAddress(row), weight.Address, epsilon, result.RowAddress(row), result.Columns), source.DType, weight.DType, result.DType);

    /// <summary>Adds a row to the residual stream, which is rounded to its type.</summary>
    private readonly struct AddLoop<TLanes>(nint x, nint stream, int length) : ITypedLoop where TLanes : struct, ILanes<TLanes>
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run<TX, TStream, TNone>() where TX : unmanaged where TStream : unmanaged where TNone : unmanaged
        {
            var addend = (TX*)x;
            var sum = (TStream*)stream;
            int whole = Lanes.Whole(length);
            for (int i = 0; i < whole; i += Lanes.Count) TLanes.Store(TLanes.Load(sum + i) + TLanes.Load(addend + i), sum + i);
            if (whole == length) return;
            int left = length - whole;
            Elements.StoreTail(Elements.LoadTail<TLanes, TStream>(sum + whole, left) + Elements.LoadTail<TLanes, TX>(addend + whole, left), sum + whole, left);
        }
    }

    private readonly struct NormalizeLoop<TLanes>(nint source, nint weight, float epsilon, nint result, int length) : ITypedLoop where TLanes : struct, ILanes<TLanes>
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run<TX, TWeight, TResult>() where TX : unmanaged where TWeight : unmanaged where TResult : unmanaged
        {
            var x = (TX*)source;
            var weights = (TWeight*)weight;
            var destination = (TResult*)result;
            int whole = Lanes.Whole(length);
            var factor = TLanes.Fill(1f / MathF.Sqrt(SumOfSquares<TLanes, TX>(x, length) / length + epsilon));
            for (int i = 0; i < whole; i += Lanes.Count) TLanes.Store(TLanes.Load(x + i) * factor * TLanes.Load(weights + i), destination + i);
            if (whole == length) return;
            int left = length - whole;
            Elements.StoreTail(Elements.LoadTail<TLanes, TX>(x + whole, left) * factor * Elements.LoadTail<TLanes, TWeight>(weights + whole, left), destination + whole, left);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float SumOfSquares<TLanes, T>(T* x, int length) where TLanes : struct, ILanes<TLanes> where T : unmanaged
    {
        var squares = TLanes.Fill(0);
        int whole = Lanes.Whole(length);
        for (int i = 0; i < whole; i += Lanes.Count)
        {
            TLanes value = TLanes.Load(x + i);
            squares = TLanes.FusedMultiplyAdd(value, value, squares);
        }
        if (whole == length) return TLanes.Sum(squares);
        TLanes last = Elements.LoadTail<TLanes, T>(x + whole, length - whole);
        return TLanes.Sum(TLanes.FusedMultiplyAdd(last, last, squares));
    }
}
