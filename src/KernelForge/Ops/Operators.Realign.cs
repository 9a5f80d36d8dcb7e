namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Moves keys and values of single token positions within paged caches, in all layers: the accepted path of a token tree into the slots of its sequence,
    /// or a copy of a partly filled block for a branch. Chains of drafts need none of it: rejected slots lie behind the new length.
    /// </summary>
    /// <param name="layers">Caches of one format and as many blocks; the same moves are made in each.</param>
    /// <param name="moves">In groups. No destination twice. Within a group a destination may be a source of a move that stands before it or of itself, so that positions
    /// can close up in place; otherwise no destination is a source of any move.</param>
    /// <param name="groups">[groups + 1] where each group starts and ends.</param>
    public void Realign(ReadOnlySpan<KvLayer> layers, DeviceSpan<KvMove> moves, DeviceSpan<int> groups)
    {
        CheckHere("Realign", moves.Device, moves.IsEmpty);
        CheckHere("Realign", groups.Device, groups.IsEmpty);
        foreach (ref readonly KvLayer layer in layers)
        {
            CheckFloat("Realign", "layers", layer.Data);
            Check.That(layer.Format == layers[0].Format && layer.Blocks == layers[0].Blocks,
                $"Realign: layers of {layers[0].Blocks} blocks {layers[0].Format} and of {layer.Blocks} blocks {layer.Format} given, expected all alike");
        }
        if (!layers.IsEmpty && !moves.IsEmpty && groups.Length > 1) RealignCore(layers, moves, groups);
    }

    /// <summary>Computes <see cref="Realign(ReadOnlySpan{KvLayer}, DeviceSpan{KvMove}, DeviceSpan{int})"/> on checked arguments.</summary>
    protected abstract void RealignCore(ReadOnlySpan<KvLayer> layers, DeviceSpan<KvMove> moves, DeviceSpan<int> groups);
}
