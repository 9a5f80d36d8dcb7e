using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>Some neighbouring rows of a plan and the positions that they may read together.</summary>
/// <param name="First">First row.</param>
/// <param name="Count">Rows.</param>
/// <param name="Low">Where the tile starts that holds the first position that some row sees.</param>
/// <param name="End">Position behind the last one: of a prefix that of a whole tile, of a sequence behind its last query token.</param>
internal readonly record struct RowRange(int First, int Count, int Low, int End);

/// <summary>The rows of a plan: the query tokens of a step in the order of a forest, and what its nodes and sequences read in positions.</summary>
internal sealed class AttentionRows(AttentionPlannerOptions options)
{
    private readonly List<int> _tokens = [], _positions = [];
    private readonly List<RowRange> _nodes = [], _sequences = [];

    /// <summary>[tokens] of the step, by order of the plan.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(_tokens);

    /// <summary>[tokens] absolute position, by order of the plan.</summary>
    public ReadOnlySpan<int> Positions => CollectionsMarshal.AsSpan(_positions);

    /// <summary>By node of the forest.</summary>
    public ReadOnlySpan<RowRange> Nodes => CollectionsMarshal.AsSpan(_nodes);

    /// <summary>By order of the forest.</summary>
    public ReadOnlySpan<RowRange> Sequences => CollectionsMarshal.AsSpan(_sequences);

    public void Build(in AttentionStep step, PrefixForest forest)
    {
        CollectionsMarshal.SetCount(_tokens, step.Tokens);
        CollectionsMarshal.SetCount(_positions, step.Tokens);
        Span<int> tokens = CollectionsMarshal.AsSpan(_tokens), positions = CollectionsMarshal.AsSpan(_positions);
        _sequences.Clear();
        int token = 0;
        foreach (int s in forest.Order)
        {
            int length = step.Length(s), context = step.ContextLengths[s], offset = step.QueryOffsets[s];
            _sequences.Add(new RowRange(token * options.Group, length * options.Group, Low(context), context + length));
            for (int i = 0; i < length; i++, token++) (tokens[token], positions[token]) = (offset + i, context + i);
        }
        AddNodes(forest.Nodes, options.Format.BlockSize);
    }

    /// <summary>The smallest position of the tokens that some neighbouring rows belong to.</summary>
    public int FirstPosition(int firstRow, int rows)
    {
        int first = int.MaxValue;
        foreach (int position in Positions[(firstRow / options.Group)..((firstRow + rows - 1) / options.Group + 1)]) first = Math.Min(first, position);
        return first;
    }

    /// <summary>Where the first tile starts that a token at a position sees.</summary>
    public int Low(int position) => options.Window == 0 ? 0 : TileStart(Math.Max(0, position - options.Window + 1));

    public int TileStart(int position) => position - position % options.Tiling.TileSize;

    private void AddNodes(ReadOnlySpan<PrefixNode> nodes, int blockSize)
    {
        _nodes.Clear();
        foreach (ref readonly PrefixNode node in nodes)
        {
            if (node.Count == 0) // the root of an empty step
            {
                _nodes.Add(default);
                continue;
            }
            RowRange first = _sequences[node.First], last = _sequences[node.First + node.Count - 1];
            int low = first.Low;
            for (int i = node.First; options.Window > 0 && i < node.First + node.Count; i++) low = Math.Min(low, _sequences[i].Low);
            _nodes.Add(new RowRange(first.First, last.First + last.Count - first.First, low, TileStart(node.End * blockSize)));
        }
    }
}
