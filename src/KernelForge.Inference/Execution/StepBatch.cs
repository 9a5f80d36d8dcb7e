namespace KernelForge.Inference;

/// <summary>A step as flat device arrays: the query tokens of all rows one after the other, no padding.</summary>
/// <param name="TokenIds">[tokens].</param>
/// <param name="Positions">[tokens] absolute positions.</param>
/// <param name="Slots">[tokens] where keys and values go.</param>
/// <param name="Attention">Which tokens belong together, their blocks, and what they read together.</param>
/// <param name="LogitTokens">[sampling rows] index of the token whose logits are wanted.</param>
internal readonly record struct StepBatch(
    DeviceSpan<int> TokenIds, DeviceSpan<int> Positions, DeviceSpan<int> Slots, AttentionPlan Attention, DeviceSpan<int> LogitTokens)
{
    /// <summary>Keys and values that branches of token trees need twice: moved in every layer when they are stored, before attention reads them.</summary>
    public DeviceSpan<KvMove> Copies { get; init; }

    /// <summary>[groups + 1] the groups of <see cref="Copies"/>.</summary>
    public DeviceSpan<int> CopyGroups { get; init; }
}
