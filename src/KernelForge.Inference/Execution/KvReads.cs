namespace KernelForge.Inference;

/// <summary>Keys and values that attention has read, in all layers and steps.</summary>
/// <param name="Bytes">Bytes read.</param>
/// <param name="BytesUnshared">Bytes that would have been read if every sequence read its keys and values by itself.</param>
public readonly record struct KvReads(long Bytes, long BytesUnshared)
{
    /// <summary>What reading common prefixes together saved.</summary>
    public long BytesSaved => BytesUnshared - Bytes;

    internal KvReads Plus(in AttentionReads reads, int layers) => new(Bytes + layers * reads.Bytes, BytesUnshared + layers * reads.BytesUnshared);
}
