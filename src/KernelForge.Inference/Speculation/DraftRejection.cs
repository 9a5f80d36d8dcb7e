using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// What <see cref="Operators.RejectDrafts"/> needs to know of a step's chains: for every node the token drafted behind it, and the logits that this token was drawn
/// from.
/// </summary>
internal sealed class DraftRejection
{
    private readonly List<int> _children = [], _none = [], _sources = []; // by node: the node behind it or -1; -1; the proposal that this one is, or 0
    private bool _isProposed = true;

    /// <summary>Bytes of an arena for so many nodes.</summary>
    public static long ArenaBytes(int nodes, int vocabulary) => 3 * Arena.Rounded((long)nodes * sizeof(int)) + Arena.Rounded((long)nodes * vocabulary * sizeof(float));

    /// <summary>Forgets the last step.</summary>
    public void Clear()
    {
        _children.Clear();
        _none.Clear();
        _sources.Clear();
        _isProposed = true;
    }

    /// <summary>Adds the chain of the next sequence that samples.</summary>
    /// <exception cref="InvalidOperationException">It is a tree with branches.</exception>
    public void Add(ReadOnlySpan<DraftNode> drafts)
    {
        for (int node = 0; node <= drafts.Length; node++)
        {
            bool hasChild = node < drafts.Length;
            if (hasChild && drafts[node].Parent != node)
                throw new InvalidOperationException($"Rejection sampling takes chains; node {node + 1} follows node {drafts[node].Parent}, expected {node}.");
            _children.Add(hasChild ? _children.Count + 1 : -1);
            _none.Add(-1);
            _sources.Add(hasChild ? Math.Max(0, drafts[node].Source) : 0);
            if (hasChild) _isProposed &= drafts[node].Source >= 0;
        }
    }

    /// <summary>[nodes] the token drafted behind each node, -1 for none.</summary>
    /// <param name="tokens">[nodes] the nodes themselves.</param>
    /// <param name="arena">Where it is put.</param>
    public DeviceSpan<int> Drafted(DeviceSpan<int> tokens, Arena arena)
    {
        DeviceSpan<int> drafted = arena.Upload<int>(CollectionsMarshal.AsSpan(_none));
        tokens.Device!.Operators.Gather(tokens, arena.Upload<int>(CollectionsMarshal.AsSpan(_children)), drafted);
        return drafted;
    }

    /// <summary>F32 [nodes, vocabulary] what each of <see cref="Drafted"/> was drawn from; empty when the drafter is certain of what it drafts.</summary>
    /// <exception cref="InvalidOperationException">It draws some tokens and is certain of others.</exception>
    public DeviceMatrix LogitsOf(DraftBatch drafts, Arena arena)
    {
        if (drafts.Logits.IsEmpty) return default;
        if (!_isProposed) throw new InvalidOperationException("Rejection sampling takes tokens that are all drawn from DraftBatch.Logits or none; some have no proposal.");
        DeviceMatrix logits = arena.Matrix(DType.F32, _sources.Count, drafts.Logits.Columns);
        drafts.Logits.Device!.Operators.Embed(arena.Upload<int>(CollectionsMarshal.AsSpan(_sources)), drafts.Logits, logits);
        return logits;
    }
}
