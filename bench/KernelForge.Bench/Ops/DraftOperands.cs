namespace KernelForge.Bench;

/// <summary>How the drafts of a step hang together.</summary>
public enum DraftShape
{
    /// <summary>Four drafts in a row.</summary>
    ChainOf4,

    /// <summary>Sixteen nodes: two children to a node, four levels below the root.</summary>
    TreeOf16,
}

/// <summary>Sequences with drafts of which about three in four are what the target chose, and two stop tokens each.</summary>
internal sealed class DraftOperands
{
    private const int Length = 1000, MaxLength = 2000, BlockSize = 16, IntsPerRow = 12, IntsPerNode = 3, Stops = 2;

    private readonly DeviceSpan<DraftRow> _rows;
    private readonly DeviceSpan<int> _parents, _tokens, _chosen, _stops;
    private readonly VerifiedDrafts _result;

    public DraftOperands(Operands operands, int rows, DraftShape shape)
    {
        var random = new Random(6);
        (Rows, Nodes) = (rows, NodesOf(shape));
        int[] parents = [.. Enumerable.Range(0, rows * Nodes).Select(i => ParentOf(shape, i % Nodes))];
        int[] chosen = [.. parents.Select(_ => random.Next(2, 1000))];
        int[] tokens = [.. parents.Select((parent, i) => random.Next(4) > 0 ? chosen[i / Nodes * Nodes + parent] : 1)];
        _rows = operands.Span([.. Enumerable.Range(0, rows).Select(i => new DraftRow(i * Nodes, Nodes, Length, MaxLength, 0, i * Stops, Stops))]);
        (_parents, _tokens, _chosen) = (operands.Span(parents), operands.Span(tokens), operands.Span(chosen));
        _stops = operands.Span(new int[rows * Stops]);
        _result = new VerifiedDrafts(operands.Span(new int[VerifiedDrafts.MemoryLength(rows, rows * Nodes)]), rows, rows * Nodes);
    }

    public int Rows { get; }

    /// <summary>Of one sequence.</summary>
    public int Nodes { get; }

    /// <summary>Descriptions, nodes and what is written for each sequence; the tokens gained, about three each, are not counted.</summary>
    public static double Bytes(int rows, DraftShape shape) => sizeof(int) * (double)rows * (IntsPerRow + IntsPerNode * NodesOf(shape));

    public void Verify(Operators operators) => operators.VerifyDrafts(_rows, _parents, _tokens, _chosen, _stops, BlockSize, _result);

    /// <summary>The same on the host, as one writes it first: a list of tokens for each sequence.</summary>
    public List<List<int>> VerifyByLists()
    {
        Span<int> parents = _parents.OnCpu, tokens = _tokens.OnCpu, chosen = _chosen.OnCpu;
        List<List<int>> gained = [];
        foreach (DraftRow row in _rows.OnCpu)
        {
            List<int> path = [];
            for (int node = 0; node >= 0;)
            {
                int token = chosen[row.FirstNode + node], next = -1;
                path.Add(token);
                for (int child = row.Nodes - 1; child > node; child--)
                    if (parents[row.FirstNode + child] == node && tokens[row.FirstNode + child] == token) next = child;
                node = token < Stops ? -1 : next;
            }

            gained.Add(path);
        }

        return gained;
    }

    private static int NodesOf(DraftShape shape) => shape == DraftShape.ChainOf4 ? 5 : 16;

    private static int ParentOf(DraftShape shape, int node) => shape == DraftShape.ChainOf4 ? Math.Max(0, node - 1) : Math.Max(0, (node - 1) / 2);
}
