using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Decides which nodes of token trees stay when the first layers of a pass are done. The model's own norm and head turn hidden states into predictions. A node
/// stays when its parent does and its token is among the best ones predicted behind the parent, with the noise that draws the token there. Penalties and biases are
/// left out: a prediction is no promise. Nodes are counted over all rows that sample, as in <see cref="DraftPaths.Slots"/>.
/// </summary>
internal sealed class TreePruner(EarlyPruning options)
{
    private const int Dropped = -1;

    private readonly List<int> _parents = []; // by node; -1 for node 0 of a row
    private readonly List<int> _places = []; // by node: of its predictions among those of all nodes with children; -1 for leaves
    private readonly List<int> _inner = []; // nodes with children
    private readonly List<SamplingRow> _rows = []; // beside them
    private readonly List<int> _kept = []; // by node: its number among those that stay
    private readonly List<int> _found = []; // by node: its token; then the best tokens behind nodes with children
    private readonly List<int> _tokens = []; // places among the tokens of the pass, on their way to the device

    /// <summary>Layers before nodes are dropped.</summary>
    public int Layers => options.Layers;

    /// <summary>[nodes] their tokens; -1 for nodes that were dropped, which no chosen token equals.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(_found)[.._kept.Count];

    /// <summary>[nodes] their numbers among those that stay; -1 for nodes that were dropped. Empty before <see cref="Decide"/>.</summary>
    public ReadOnlySpan<int> Kept => CollectionsMarshal.AsSpan(_kept);

    /// <summary>Bytes of an arena for so many nodes.</summary>
    public static long ArenaBytes(EarlyPruning options, ModelConfig config, DType computeType, int nodes)
    {
        int best = Math.Min(options.Keep, config.VocabularySize);
        return Transformer.LogitBytes(config, computeType, nodes) + Arena.Rounded((1L + best) * nodes * sizeof(int))
            + Arena.Rounded((long)nodes * Unsafe.SizeOf<SamplingRow>()) + 5 * Arena.Rounded((long)nodes * sizeof(int));
    }

    /// <summary>Forgets the last step.</summary>
    public void Clear()
    {
        foreach (List<int> list in (ReadOnlySpan<List<int>>)[_parents, _places, _inner, _kept]) list.Clear();
        _rows.Clear();
    }

    /// <summary>Adds the tree of the next sequence that samples.</summary>
    public void Add(Sequence sequence, ReadOnlySpan<DraftNode> drafts)
    {
        int first = _parents.Count;
        _parents.Add(-1);
        _places.Add(-1);
        foreach (DraftNode node in drafts)
        {
            int parent = first + node.Parent;
            if (_places[parent] < 0) AddInner(sequence, parent);
            _parents.Add(parent);
            _places.Add(-1);
        }
    }

    /// <summary>Whether a node is not taken any further.</summary>
    public bool HasDropped(int node) => _kept.Count > 0 && _kept[node] == Dropped;

    /// <summary>The row of a node's logits.</summary>
    public int RowOf(int node) => _kept.Count > 0 ? _kept[node] : node;

    /// <summary>Predicts and decides. Waits for the device.</summary>
    /// <param name="model">Whose first layers are done.</param>
    /// <param name="batch">The pass; its logits are wanted of every node.</param>
    /// <param name="residual">What the first layers have made of its tokens.</param>
    /// <param name="nodeTokens">By node: its place among the tokens of the pass.</param>
    /// <param name="arena">For predictions.</param>
    /// <returns>Nodes that were dropped.</returns>
    public int Decide(Transformer model, in StepBatch batch, in DeviceMatrix residual, ReadOnlySpan<int> nodeTokens, Arena arena)
    {
        Operators operators = model.Device.Operators;
        int nodes = _parents.Count, best = Math.Min(options.Keep, model.Config.VocabularySize);
        _tokens.Clear();
        foreach (int node in _inner) _tokens.Add(nodeTokens[node]);
        DeviceMatrix logits = model.Logits(arena.Upload<int>(CollectionsMarshal.AsSpan(_tokens)), residual, arena);
        DeviceSpan<int> found = arena.Span<int>(nodes + best * _inner.Count);
        operators.Gather(batch.TokenIds, batch.LogitTokens, found.Slice(0, nodes));
        operators.SampleTop(logits, arena.Upload<SamplingRow>(CollectionsMarshal.AsSpan(_rows)), found.Slice(nodes, best * _inner.Count));

        CollectionsMarshal.SetCount(_found, found.Length);
        found.CopyTo(CollectionsMarshal.AsSpan(_found));
        return nodes - Sift(CollectionsMarshal.AsSpan(_found)[..nodes], CollectionsMarshal.AsSpan(_found)[nodes..], best);
    }

    /// <summary>The places of tokens that the other layers take, on the device.</summary>
    /// <param name="count">Tokens of the pass.</param>
    /// <param name="nodeTokens">By node: its place among them.</param>
    /// <param name="arena">Where they are put.</param>
    public DeviceSpan<int> Survivors(int count, ReadOnlySpan<int> nodeTokens, Arena arena)
    {
        CollectionsMarshal.SetCount(_tokens, count);
        Span<int> tokens = CollectionsMarshal.AsSpan(_tokens);
        for (int i = 0; i < count; i++) tokens[i] = i;
        for (int node = 0; node < nodeTokens.Length; node++)
            if (_kept[node] == Dropped) tokens[nodeTokens[node]] = Dropped;
        _tokens.RemoveAll(static token => token == Dropped);
        return arena.Upload<int>(CollectionsMarshal.AsSpan(_tokens));
    }

    /// <summary>What was chosen behind nodes that stay, at the places of all nodes. Nobody reads what is at the others.</summary>
    public DeviceSpan<int> Spread(DeviceSpan<int> chosen, Arena arena)
    {
        DeviceSpan<int> all = arena.Upload(Kept);
        chosen.Device!.Operators.Gather(chosen, arena.Upload(Kept), all);
        return all;
    }

    private void AddInner(Sequence sequence, int node)
    {
        int depth = 0;
        for (int above = _parents[node]; above >= 0; above = _parents[above]) depth++;
        _places[node] = _inner.Count;
        _inner.Add(node);
        _rows.Add(TokenSampler.RowOf(sequence, sequence.Length + depth));
    }

    /// <summary>Numbers the nodes that stay and returns how many they are.</summary>
    private int Sift(Span<int> tokens, ReadOnlySpan<int> predicted, int best)
    {
        int kept = 0;
        for (int node = 0; node < tokens.Length; node++)
        {
            int parent = _parents[node];
            bool stays = parent < 0 || _kept[parent] >= 0 && predicted.Slice(_places[parent] * best, best).Contains(tokens[node]);
            _kept.Add(stays ? kept++ : Dropped);
            if (!stays) tokens[node] = Dropped;
        }
        return kept;
    }
}
