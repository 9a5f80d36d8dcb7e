using System.Runtime.CompilerServices;

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
            for (int row = range.Start; row < range.End; row++)
                TypedLoop.Run(new SiluMulLoop<TLanes>(gate.RowAddress(row), up.RowAddress(row), result.RowAddress(row), gate.Columns), gate.DType, up.DType, result.DType);
        }
    }

    private readonly struct SiluMulLoop<TLanes>(nint gate, nint up, nint result, int length) : ITypedLoop where TLanes : struct, ILanes<TLanes>
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run<TGate, TUp, TResult>() where TGate : unmanaged where TUp : unmanaged where TResult : unmanaged
        {
            var gates = (TGate*)gate;
            var ups = (TUp*)up;
            var destination = (TResult*)result;
            int whole = Lanes.Whole(length);
            for (int i = 0; i < whole; i += Lanes.Count) TLanes.Store(LaneMath.Silu(TLanes.Load(gates + i)) * TLanes.Load(ups + i), destination + i);
            if (whole == length) return;
            int left = length - whole;
            Elements.StoreTail(LaneMath.Silu(Elements.LoadTail<TLanes, TGate>(gates + whole, left)) * Elements.LoadTail<TLanes, TUp>(ups + whole, left), destination + whole, left);
        }
    }
}
