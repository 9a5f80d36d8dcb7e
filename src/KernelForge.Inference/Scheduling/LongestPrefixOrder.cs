namespace KernelForge.Inference;

/// <summary>
/// Those with the longest cached prefix first, as SGLang's longest prefix match (arXiv:2312.07104); first come, first served while many wait, because
/// looking all of them up takes long.
/// </summary>
/// <param name="mostWaiting">Most waiting sequences among which prefixes are compared; SGLang has 128.</param>
public sealed class LongestPrefixOrder(int mostWaiting = 128) : IQueueOrder
{
    /// <inheritdoc/>
    public bool Rekeys => true;

    /// <inheritdoc/>
    public bool RekeysWith(int waiting) => waiting <= mostWaiting;

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => entry.Waiting > mostWaiting ? 0 : -entry.CachedTokens;
}
