namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void RealignPaddedCore(
        in PaddedBatch batch, ReadOnlySpan<PaddedLayer> layers, DeviceSpan<int> gained, DeviceSpan<int> counts,
        in PaddedBatch result, ReadOnlySpan<PaddedLayer> resultLayers)
    {
        int after = LengthAfter(batch, gained, counts, result), heads = Heads(batch, layers);
        for (int i = 0; i < layers.Length; i++)
        {
            long elements = (long)after * layers[i].Keys.Columns;
            RunRows(new PaddedWork(batch, counts, after, layers[i].Keys, resultLayers[i].Keys, result.Capacity), batch.Sequences * heads, elements);
            RunRows(new PaddedWork(batch, counts, after, layers[i].Values, resultLayers[i].Values, result.Capacity), batch.Sequences * heads, elements);
        }

        int most = gained.Length / batch.Sequences;
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
            RealignTokens(batch, result, sequence, ColumnsOf(batch, counts, sequence, after), gained.OnCpu.Slice(sequence * most, most));
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
            result.ContentLengths.OnCpu[sequence] = batch.ContentLengths.OnCpu[sequence] + counts.OnCpu[sequence];
        result.Length.OnCpu[0] = after;
    }

    /// <summary>The common length afterwards, once it is sure that everything fits.</summary>
    private static int LengthAfter(in PaddedBatch batch, DeviceSpan<int> gained, DeviceSpan<int> counts, in PaddedBatch result)
    {
        int before = batch.Length.OnCpu[0], most = gained.Length / batch.Sequences, after = 0;
        Check.That(before <= batch.Capacity, $"RealignPadded: a length of {before}, the batch has {batch.Capacity} columns");
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
        {
            int content = batch.ContentLengths.OnCpu[sequence], count = counts.OnCpu[sequence];
            Check.That(content >= 1 && content <= before, $"RealignPadded: sequence {sequence} has {content} content columns, expected 1 to {before}");
            Check.That(count >= 0 && count <= most && before - 1 + count <= batch.Capacity,
                $"RealignPadded: sequence {sequence} gains {count} tokens, expected 0 to {Math.Min(most, batch.Capacity + 1 - before)}");
            after = Math.Max(after, content + count);
        }
        Check.That(after <= result.Capacity, $"RealignPadded: the batch needs {after} columns, there are {result.Capacity}");
        return after;
    }

    private static PaddedColumns ColumnsOf(in PaddedBatch batch, DeviceSpan<int> counts, int sequence, int after) =>
        new(batch.Side, batch.ContentLengths.OnCpu[sequence], counts.OnCpu[sequence], batch.Length.OnCpu[0], after);

    private static void RealignTokens(in PaddedBatch batch, in PaddedBatch result, int sequence, PaddedColumns columns, ReadOnlySpan<int> gained)
    {
        int capacity = result.Capacity, start = columns.Tokens.Destination, content = columns.Content + columns.Gained;
        Span<int> tokens = RowOf(result.Tokens), positions = RowOf(result.Positions), mask = RowOf(result.Mask);
        batch.Tokens.OnCpu.Slice(sequence * batch.Capacity + columns.Tokens.Source, columns.Content).CopyTo(tokens[start..]);
        gained[..columns.Gained].CopyTo(tokens[(start + columns.Content)..]);
        tokens[..start].Fill(result.PadToken);
        tokens[(start + content)..].Fill(result.PadToken);
        mask.Clear();
        mask.Slice(start, content).Fill(1);
        for (int column = 0; column < positions.Length; column++) positions[column] = Math.Clamp(column - start, 0, content - 1);

        Span<int> RowOf(DeviceSpan<int> all) => all.OnCpu.Slice(sequence * capacity, capacity);
    }

    /// <summary>Rows are strips: the keys or the values of one head of one sequence.</summary>
    private readonly struct PaddedWork(PaddedBatch batch, DeviceSpan<int> counts, int after, DeviceMatrix source, DeviceMatrix result, int resultCapacity) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            int strips = source.Rows / batch.Capacity;
            RowRange range = RowRange.Of(strips, part, parts);
            for (int strip = range.Start; strip < range.End; strip++) Realign(strip, ColumnsOf(batch, counts, strip * batch.Sequences / strips, after));
        }

        private void Realign(int strip, PaddedColumns columns)
        {
            bool isInPlace = source.Address == result.Address;
            if (!isInPlace) Move(strip, new ColumnMove(0, 0, columns.Kept));
            if (!isInPlace || columns.Verified.Source != columns.Verified.Destination) Move(strip, columns.Verified);
            (int start, int end) = columns.Cleared(isInPlace);
            if (start < end) new Span<byte>((void*)result.RowAddress(strip * resultCapacity + start), (end - start) * RowBytes).Clear();
        }

        private int RowBytes => source.Columns * source.DType.Size();

        private void Move(int strip, ColumnMove move)
        {
            long bytes = (long)move.Count * RowBytes;
            nint from = source.RowAddress(strip * batch.Capacity + move.Source), to = result.RowAddress(strip * resultCapacity + move.Destination);
            Buffer.MemoryCopy((void*)from, (void*)to, bytes, bytes); // as memmove: the two may overlap
        }
    }
}
