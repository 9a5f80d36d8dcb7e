namespace KernelForge.Bench;

/// <summary>Sequences that each add Queries tokens to Context cached ones.</summary>
public sealed record AttentionShape(int Sequences, int Queries, int Context, int QueryHeads, int KvHeads, int HeadDim)
{
    public override string ToString() => $"{Sequences}x{Queries} after {Context}, {QueryHeads}/{KvHeads} heads of {HeadDim}";

    public double Flops => 4.0 * Sequences * QueryHeads * HeadDim * VisibleKeys;

    /// <summary>Of keys, values, queries and result.</summary>
    public double Elements => 2.0 * Sequences * HeadDim * ((double)KvHeads * (Context + Queries) + (double)QueryHeads * Queries);

    /// <summary>Keys that all query tokens of a sequence see together.</summary>
    private double VisibleKeys => (double)Queries * Context + (double)Queries * (Queries + 1) / 2;
}

/// <summary>A step of attention in one element type, no prefix shared: keys and values in blocks of 16 at random places, as the engine keeps them.</summary>
internal sealed class AttentionOperands
{
    public const int BlockSize = 16;

    private readonly AttentionPlan _plan;

    public AttentionOperands(Operands operands, Operators operators, AttentionShape shape, DType type)
    {
        int tokens = shape.Sequences * shape.Queries, blocks = (shape.Context + shape.Queries + BlockSize - 1) / BlockSize;
        var format = new KvFormat(BlockSize, shape.KvHeads, shape.HeadDim, type);
        Scale = 1 / MathF.Sqrt(shape.HeadDim);
        Queries = operands.Random(type, tokens, shape.QueryHeads * shape.HeadDim);
        Result = operands.Random(type, tokens, shape.QueryHeads * shape.HeadDim);
        Cache = new KvLayer(operands.Random(type, shape.Sequences * blocks * format.RowsPerBlock, shape.HeadDim), format);

        int[] table = [.. Enumerable.Range(0, shape.Sequences * blocks)], contexts = [.. Enumerable.Repeat(shape.Context, shape.Sequences)];
        int[] offsets = [.. Enumerable.Range(0, shape.Sequences + 1).Select(s => s * shape.Queries)];
        int[] blockOffsets = [.. Enumerable.Range(0, shape.Sequences + 1).Select(s => s * blocks)];
        new Random(2).Shuffle(table);
        Batch = new AttentionBatch(operands.Span(offsets), operands.Span(contexts), operands.Span(blockOffsets), operands.Span(table));
        var planner = new AttentionPlanner(new AttentionPlannerOptions(format, table.Length, shape.QueryHeads, operators.AttentionTiling(format)));
        planner.Plan(offsets, contexts, blockOffsets, table);
        _plan = planner.On(operands.Span(planner.Memory.ToArray()), operands.Span(new float[planner.WorkspaceLength]));
    }

    public float Scale { get; }

    public DeviceMatrix Queries { get; }

    public DeviceMatrix Result { get; }

    public KvLayer Cache { get; }

    public AttentionBatch Batch { get; }

    public void Attend(Operators operators) => operators.Attention(Queries, Cache, _plan, Scale, Result);
}
