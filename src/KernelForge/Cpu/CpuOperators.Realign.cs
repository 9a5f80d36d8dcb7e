namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    /// <summary>A head's keys or values are moved by one thread, in the order of the moves: they never meet those of another.</summary>
    protected override void RealignCore(ReadOnlySpan<KvLayer> layers, DeviceSpan<KvMove> moves, DeviceSpan<int> groups)
    {
        ReadOnlySpan<int> starts = groups.OnCpu;
        KvFormat format = layers[0].Format;
        int capacity = layers[0].Blocks * format.BlockSize, count = starts[^1] - starts[0];
        foreach (KvMove move in moves.OnCpu.Slice(starts[0], count))
            Check.That((uint)move.Source < (uint)capacity && (uint)move.Destination < (uint)capacity, $"Realign: {move}, the caches have {capacity} slots");
        foreach (ref readonly KvLayer layer in layers) RunRows(new RealignWork(layer, moves, groups), 2 * format.KvHeads, (long)count * format.HeadDim);
    }

    /// <summary>Rows are heads, keys first. A group's moves of a head follow each other, since their slots mostly do.</summary>
    private readonly struct RealignWork(KvLayer layer, DeviceSpan<KvMove> moves, DeviceSpan<int> groups) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            RowRange heads = RowRange.Of(2 * layer.Format.KvHeads, part, parts);
            ReadOnlySpan<int> starts = groups.OnCpu;
            nint first = layer.Data.Address;
            long bytes = layer.Format.HeadDim * layer.Format.DType.Size();
            for (int group = 0; group < starts.Length - 1; group++)
                for (int head = heads.Start; head < heads.End; head++)
                    foreach (KvMove move in moves.OnCpu[starts[group]..starts[group + 1]])
                        if (move.Source != move.Destination)
                            Buffer.MemoryCopy((byte*)first + RowOf(move.Source, head) * bytes, (byte*)first + RowOf(move.Destination, head) * bytes, bytes, bytes);
        }

        private int RowOf(int slot, int head)
        {
            int blockSize = layer.Format.BlockSize, block = slot / blockSize;
            return layer.KeyRow(block, head) + slot - block * blockSize; // values follow the keys of a block as more heads would
        }
    }
}
