namespace KernelForge.Inference;

/// <summary>
/// What one sequence is expected to take of the KV cache from this step, number 0, on. It has <paramref name="Slots"/> until step
/// <paramref name="First"/>, gains slots in each step after that until it has <paramref name="FinalSlots"/>, and leaves with all of them after step
/// <paramref name="Last"/>.
/// </summary>
/// <param name="Slots">Slots it has in step 0; those of blocks that are counted for other sequences are not among them.</param>
/// <param name="FinalSlots">Most slots it comes to, as many or more.</param>
/// <param name="First">Last step before it grows.</param>
/// <param name="Last">Last step in which it is there.</param>
/// <param name="Kept">Blocks of others that stay because of it.</param>
/// <param name="KeptAfter">Step after which these would leave without it.</param>
internal readonly record struct FutureUse(int Slots, int FinalSlots, int First, int Last, int Kept = 0, int KeptAfter = 0)
{
    /// <summary>A step that does not come.</summary>
    public const int Never = int.MaxValue / 2;

    /// <summary>Slots in a step up to the last, when it gains so many in a step.</summary>
    public int SlotsAt(int step, int slotsPerStep) => (int)Math.Min(FinalSlots, Slots + (long)slotsPerStep * Math.Max(0, step - First));

    /// <summary>Last step in which it has just what growing gives; after it, its final slots.</summary>
    public int GrowsUntil(int slotsPerStep) => First + (FinalSlots - Slots) / slotsPerStep;
}
