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
            RowRange range = RowRange.Of(keys.Rows, part, parts);
            for (int row = range.Start; row < range.End; row++)
            {
                (int block, int offset) = Math.DivRem(slots.OnCpu[row], format.BlockSize);
                for (int head = 0; head < format.KvHeads; head++)
                {
                    Store<TLanes>(keys, row, head, cache.Data.RowAddress(cache.KeyRow(block, head) + offset));
                    Store<TLanes>(values, row, head, cache.Data.RowAddress(cache.ValueRow(block, head) + offset));
                }
            }
        }

        private void Store<TLanes>(in DeviceMatrix source, int row, int head, nint destination) where TLanes : struct, ILanes<TLanes>
        {
            nint start = source.RowAddress(row) + (nint)head * cache.Format.HeadDim * source.DType.Size();
            Elements.Convert<TLanes>(start, source.DType, destination, cache.Format.DType, cache.Format.HeadDim);
        }
    }
}
