namespace KernelForge;

/// <summary>Where the rows of a rectangular batch have their padding.</summary>
public enum PaddingSide
{
    /// <summary>In front: content ends at the last column in use.</summary>
    Left,

    /// <summary>Behind: content starts at column 0.</summary>
    Right,
}

/// <summary>
/// Sequences of tokens as a rectangle, the layout of Hugging Face's generate: one row each, padded to a common length. Lengths are explicit: a token with the value of
/// the padding may be content.
/// </summary>
/// <param name="Tokens">[sequences · capacity].</param>
/// <param name="Positions">[sequences · capacity] max(0, content columns up to here - 1): 0 at the first content column, one more at each further one.</param>
/// <param name="Mask">[sequences · capacity] 1 at content, 0 at padding.</param>
/// <param name="ContentLengths">[sequences] content columns of each row.</param>
/// <param name="Length">[1] columns in use, at least the longest content.</param>
public readonly record struct PaddedBatch(
    DeviceSpan<int> Tokens, DeviceSpan<int> Positions, DeviceSpan<int> Mask, DeviceSpan<int> ContentLengths, DeviceSpan<int> Length)
{
    /// <summary>Where the padding is.</summary>
    public PaddingSide Side { get; init; }

    /// <summary>What padding columns hold in <see cref="Tokens"/>.</summary>
    public int PadToken { get; init; }

    /// <summary>Rows.</summary>
    public int Sequences => ContentLengths.Length;

    /// <summary>Columns that there is memory for.</summary>
    public int Capacity => Sequences == 0 ? 0 : Tokens.Length / Sequences;
}

/// <summary>Keys and values of one layer for a <see cref="PaddedBatch"/>: [sequences, heads, capacity, head_dim], without gaps.</summary>
/// <param name="Keys">[sequences · heads · capacity, head_dim].</param>
/// <param name="Values">The same shape and type.</param>
public readonly record struct PaddedLayer(DeviceMatrix Keys, DeviceMatrix Values);
