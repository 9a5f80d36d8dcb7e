namespace KernelForge;

/// <summary>How a device computes attention: what a plan for it must know. From <see cref="Operators.AttentionTiling"/>.</summary>
/// <param name="TileSize">Positions of a step of the softmax, from position 0 of a sequence: a part of the device's canon.</param>
/// <param name="SplitSize">Positions after which the softmax starts anew: a part of the canon.</param>
/// <param name="WideRows">Most rows of a wide item, which read keys and values together.</param>
/// <param name="NarrowRows">Most rows of a narrow item, which walks one split for few rows; 0 where the device has wide items only.</param>
/// <param name="Processors">Wide items, times key/value heads, that keep the device busy.</param>
/// <param name="SlotFloats">Floats of a state that one item hands to another, for one row.</param>
public readonly record struct AttentionTiling(int TileSize, int SplitSize, int WideRows, int NarrowRows, int Processors, int SlotFloats)
{
    /// <summary>How it is decided whether reading together pays.</summary>
    internal AttentionRates Rates { get; init; } = AttentionRates.Gpu;

    /// <summary>Whether plans for this serve a device that has <paramref name="device"/>: its canon, and items that are no larger. The rest is a matter of speed.</summary>
    internal bool Suits(in AttentionTiling device) =>
        TileSize == device.TileSize && SplitSize == device.SplitSize && SlotFloats == device.SlotFloats && WideRows <= device.WideRows && NarrowRows <= device.NarrowRows;
}
