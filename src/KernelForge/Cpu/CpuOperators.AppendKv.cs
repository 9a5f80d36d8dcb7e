namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void AppendKvCore(in DeviceMatrix keys, in DeviceMatrix values, DeviceSpan<int> slots, in KvLayer cache)
    {
        int capacity = cache.Blocks * cache.Format.BlockSize;
        foreach (int slot in slots.OnCpu)
            Check.That((uint)slot < (uint)capacity, $"AppendKv: slot {slot}, the cache has {capacity}");
        RunRows(new AppendKvWork(keys, values, slots, cache), keys.Rows, 2L * keys.Columns);
    }

    private readonly struct AppendKvWork(DeviceMatrix keys, DeviceMatrix values, DeviceSpan<int> slots, KvLayer cache) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            KvFormat format = cache.Format;
            nint data = cache.Data.Address, rowBytes = format.HeadDim * format.DType.Size();
            RowRange range = RowRange.Of(keys.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                (int block, int offset) = Math.DivRem(slots.OnCpu[row], format.BlockSize);
                Store<TLanes>(keys.RowAddress(row), keys.DType, data + (cache.KeyRow(block, 0) + offset) * rowBytes, format);
                Store<TLanes>(values.RowAddress(row), values.DType, data + (cache.ValueRow(block, 0) + offset) * rowBytes, format);
            }
        }

        /// <summary>Stores the heads of a token, which lie in the rows of as many runs of a block.</summary>
        private static void Store<TLanes>(nint source, DType type, nint destination, in KvFormat format) where TLanes : struct, ILanes<TLanes>
        {
            nint sourceBytes = format.HeadDim * type.Size(), headBytes = (nint)format.BlockSize * format.HeadDim * format.DType.Size();
            for (int head = 0; head < format.KvHeads; head++, source += sourceBytes, destination += headBytes)
                Elements.Convert<TLanes>(source, type, destination, format.DType, format.HeadDim);
        }
    }
}
