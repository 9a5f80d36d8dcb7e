namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Takes a padded batch and its keys and values through the end of a round of speculative decoding, in place: strips the padding, appends the tokens that each
    /// sequence gained, pads again to the new common length (EQSPEC, arXiv:2510.22876). With content c, gained a, length L before and L' after:
    /// L' = max(c + a); with left padding the content of a row goes from column L - c to L' - c - a.
    /// </summary>
    /// <remarks>
    /// Keys and values: before the round there are c - 1 of each sequence, its last token having none. The verifying pass puts those of the last token and of the drafts into
    /// the columns L - 1 and up of every row. Afterwards the c + a - 1 of last and accepted tokens are in the columns of their tokens, up to column L' - 2, and the
    /// newest token has none again; with right padding its column is empty, and the next pass leaves it out unless it is L' - 1. Columns in front of L' - 1 that have become padding are zero,
    /// since attention multiplies what it masks by 0 and must find numbers there. Nothing moves where a sequence stays in its columns, as when all gain the same.
    /// Tokens, positions and mask are set in all columns. On the CPU a length that does not fit is an <see cref="ArgumentException"/>; elsewhere lengths are not looked at, and
    /// the columns must suffice.
    /// </remarks>
    /// <param name="batch">Before and after.</param>
    /// <param name="layers">Of the model that verified; may be none. All of one shape and type.</param>
    /// <param name="gained">[sequences · most] accepted drafts, then the target's own next token; most = length / sequences.</param>
    /// <param name="counts">[sequences] of them that count: accepted drafts + 1, or 0 for a sequence that has ended.</param>
    public void RealignPadded(in PaddedBatch batch, ReadOnlySpan<PaddedLayer> layers, DeviceSpan<int> gained, DeviceSpan<int> counts) =>
        RealignPadded(batch, layers, gained, counts, batch, layers);

    /// <summary>
    /// The same into other memory, whose capacity may be another. What it came from stays as it is. A result may also be the very memory that it comes from, of the same
    /// capacity: then that part happens in place.
    /// </summary>
    /// <param name="batch">Before.</param>
    /// <param name="layers">Before.</param>
    /// <param name="gained">[sequences · most] accepted drafts, then the target's own next token.</param>
    /// <param name="counts">[sequences] of them that count.</param>
    /// <param name="result">After: as many sequences, padded on the same side.</param>
    /// <param name="resultLayers">After: columns in front of L' - 1 are set, the others left.</param>
    public void RealignPadded(
        in PaddedBatch batch, ReadOnlySpan<PaddedLayer> layers, DeviceSpan<int> gained, DeviceSpan<int> counts,
        in PaddedBatch result, ReadOnlySpan<PaddedLayer> resultLayers)
    {
        int sequences = batch.Sequences;
        CheckPadded("batch", batch, sequences);
        CheckPadded("result", result, sequences);
        Check.That(batch.Side == result.Side, $"RealignPadded: padding is {batch.Side} before and {result.Side} after, expected the same");
        CheckLength("RealignPadded", "counts", counts, sequences);
        CheckHere("RealignPadded", gained.Device, gained.IsEmpty);
        Check.That(sequences == 0 || gained.Length % sequences == 0, $"RealignPadded: gained has {gained.Length} elements for {sequences} sequences, expected as many for each");
        Check.That(layers.Length == resultLayers.Length, $"RealignPadded: {layers.Length} layers before and {resultLayers.Length} after, expected as many");
        if (sequences == 0) return;
        CheckPadded("layers", layers, layers, batch);
        CheckPadded("resultLayers", resultLayers, layers, result);
        Check.That(layers.IsEmpty || Heads(batch, layers) == Heads(result, resultLayers),
            $"RealignPadded: {layers[0].Keys} before and {resultLayers[0].Keys} after, expected as many heads");
        RealignPaddedCore(batch, layers, gained, counts, result, resultLayers);
    }

    /// <summary>Computes <see cref="RealignPadded(in PaddedBatch, ReadOnlySpan{PaddedLayer}, DeviceSpan{int}, DeviceSpan{int})"/> on checked arguments.</summary>
    protected abstract void RealignPaddedCore(
        in PaddedBatch batch, ReadOnlySpan<PaddedLayer> layers, DeviceSpan<int> gained, DeviceSpan<int> counts,
        in PaddedBatch result, ReadOnlySpan<PaddedLayer> resultLayers);

    /// <summary>Heads of a padded cache; 0 where there is no layer.</summary>
    private protected static int Heads(in PaddedBatch batch, ReadOnlySpan<PaddedLayer> layers) =>
        layers.IsEmpty ? 0 : layers[0].Keys.Rows / (batch.Sequences * batch.Capacity);

    private void CheckPadded(string name, in PaddedBatch batch, int sequences)
    {
        Check.That(batch.Sequences == sequences && batch.Tokens.Length == sequences * batch.Capacity,
            $"RealignPadded: {name} has {batch.Tokens.Length} tokens of {batch.Sequences} sequences, expected as many for each of {sequences}");
        CheckHere("RealignPadded", batch.Tokens.Device, batch.Tokens.IsEmpty);
        CheckHere("RealignPadded", batch.ContentLengths.Device, batch.ContentLengths.IsEmpty);
        CheckLength("RealignPadded", "positions", batch.Positions, batch.Tokens.Length);
        CheckLength("RealignPadded", "mask", batch.Mask, batch.Tokens.Length);
        CheckLength("RealignPadded", "length", batch.Length, 1);
    }

    private void CheckPadded(string name, ReadOnlySpan<PaddedLayer> layers, ReadOnlySpan<PaddedLayer> types, in PaddedBatch batch)
    {
        if (layers.IsEmpty) return;
        DeviceMatrix first = layers[0].Keys;
        Check.That(!batch.Tokens.IsEmpty && first.Rows % batch.Tokens.Length == 0 && first.DType == types[0].Keys.DType && first.Columns == types[0].Keys.Columns,
            $"RealignPadded: {name} are {first}, expected {types[0].Keys.DType}[{batch.Tokens.Length} * heads, {types[0].Keys.Columns}]");
        foreach (ref readonly PaddedLayer layer in layers)
        {
            CheckFloat("RealignPadded", name, layer.Keys, first.Rows, first.Columns);
            CheckFloat("RealignPadded", name, layer.Values, first.Rows, first.Columns);
            Check.That(layer.Keys.DType == first.DType && layer.Values.DType == first.DType && layer.Keys.IsContiguous && layer.Values.IsContiguous,
                $"RealignPadded: {name} have {layer.Keys} and {layer.Values}, expected {first} without gaps");
        }
    }
}
