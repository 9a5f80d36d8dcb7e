namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Accepts drafted tokens as far as they are what the target model chose (speculative decoding, arXiv:2211.17192, with chosen tokens instead of
    /// probabilities): from node 0 on, as long as a child of the node is the token chosen after it, that child is next; the token chosen after the last node is
    /// gained too. A sequence gains 1 to <see cref="DraftRow.Nodes"/> tokens, fewer where a stop token or its limit ends it. Of equal children the first counts.
    /// Lengths, block growth, ends and the list of sequences that go on are computed in the same launch, for loops that never wait for the device.
    /// </summary>
    /// <param name="rows">[rows] the sequences; their nodes follow one another without gaps.</param>
    /// <param name="parents">[nodes] parent of each node, counted within its sequence and smaller than the node; that of node 0 is not read.</param>
    /// <param name="tokens">[nodes] drafted tokens; that of node 0 is not read.</param>
    /// <param name="chosen">[nodes] the token that the target model chose after each node.</param>
    /// <param name="stops">Stop tokens that <see cref="DraftRow.FirstStop"/> points into.</param>
    /// <param name="blockSize">Token positions in a KV block.</param>
    /// <param name="result">For as many rows and nodes.</param>
    public void VerifyDrafts(
        DeviceSpan<DraftRow> rows, DeviceSpan<int> parents, DeviceSpan<int> tokens, DeviceSpan<int> chosen, DeviceSpan<int> stops, int blockSize,
        in VerifiedDrafts result)
    {
        CheckLength("VerifyDrafts", "rows", rows, result.Rows);
        CheckLength("VerifyDrafts", "parents", parents, result.Nodes);
        CheckLength("VerifyDrafts", "tokens", tokens, result.Nodes);
        CheckLength("VerifyDrafts", "chosen", chosen, result.Nodes);
        CheckHere("VerifyDrafts", stops.Device, stops.IsEmpty);
        CheckLength("VerifyDrafts", "result", result.Memory, VerifiedDrafts.MemoryLength(result.Rows, result.Nodes));
        Check.That(blockSize > 0, $"VerifyDrafts: the block size is {blockSize}, expected 1 or more");
        if (result.Rows > 0) VerifyDraftsCore(rows, parents, tokens, chosen, stops, blockSize, result);
    }

    /// <summary>
    /// The moves that put keys and values of accepted nodes where a chain would have put them, for <see cref="Realign(ReadOnlySpan{KvLayer}, DeviceSpan{KvMove}, DeviceSpan{int})"/>:
    /// the t-th accepted node goes to the t-th slot of its sequence's own. Moves of the other nodes move nothing.
    /// </summary>
    /// <param name="rows">As given to <see cref="VerifyDrafts"/>.</param>
    /// <param name="verified">What it found.</param>
    /// <param name="slots">[nodes] where keys and values of each node are.</param>
    /// <param name="targets">[nodes] for the t-th node of a sequence: the slot of position Length - 1 + t in its own blocks; read for accepted nodes only.</param>
    /// <param name="moves">[nodes]; the group of a sequence is its run of nodes.</param>
    public void AcceptedMoves(
        DeviceSpan<DraftRow> rows, in VerifiedDrafts verified, DeviceSpan<int> slots, DeviceSpan<int> targets, DeviceSpan<KvMove> moves)
    {
        CheckLength("AcceptedMoves", "rows", rows, verified.Rows);
        CheckLength("AcceptedMoves", "verified", verified.Memory, VerifiedDrafts.MemoryLength(verified.Rows, verified.Nodes));
        CheckLength("AcceptedMoves", "slots", slots, verified.Nodes);
        CheckLength("AcceptedMoves", "targets", targets, verified.Nodes);
        CheckLength("AcceptedMoves", "moves", moves, verified.Nodes);
        if (verified.Nodes > 0) AcceptedMovesCore(rows, verified, slots, targets, moves);
    }

    /// <summary>Computes <see cref="VerifyDrafts"/> on checked arguments.</summary>
    protected abstract void VerifyDraftsCore(
        DeviceSpan<DraftRow> rows, DeviceSpan<int> parents, DeviceSpan<int> tokens, DeviceSpan<int> chosen, DeviceSpan<int> stops, int blockSize,
        in VerifiedDrafts result);

    /// <summary>Computes <see cref="AcceptedMoves"/> on checked arguments.</summary>
    protected abstract void AcceptedMovesCore(
        DeviceSpan<DraftRow> rows, in VerifiedDrafts verified, DeviceSpan<int> slots, DeviceSpan<int> targets, DeviceSpan<KvMove> moves);
}
