namespace KernelForge.Bench;

/// <summary>A decode step of Groups · Sequences sequences: all share System tokens, those of a group Prefix more.</summary>
/// <param name="System">Tokens that all share.</param>
/// <param name="Groups">Groups.</param>
/// <param name="Prefix">Tokens behind them that a group shares.</param>
/// <param name="Sequences">Sequences of a group.</param>
/// <param name="Suffix">Tokens of a sequence's own; 0: log-normal ones, 32 .. 2,048.</param>
/// <param name="KvHeads">Key/value heads.</param>
/// <param name="Group">Query heads of each.</param>
/// <param name="HeadDim">Elements of a head.</param>
public sealed record SharedAttentionShape(int System, int Groups, int Prefix, int Sequences, int Suffix, int KvHeads, int Group, int HeadDim)
{
    public override string ToString() =>
        $"{(System > 0 ? $"{System} + " : "")}{(Groups > 1 ? $"{Groups} x " : "")}{Prefix} shared, {Groups * Sequences} x {(Suffix > 0 ? Suffix : "32..2048")}, "
        + $"{KvHeads * Group}/{KvHeads} heads of {HeadDim}";

    /// <summary>Suffix lengths, sequence after sequence.</summary>
    public int[] Suffixes()
    {
        var random = new Random(3);
        return [.. Enumerable.Range(0, Groups * Sequences).Select(_ => Suffix > 0 ? Suffix : (int)Math.Clamp(200 * Math.Exp(Normal(random)), 32, 2048))];
    }

    public double Flops => 4.0 * KvHeads * Group * HeadDim * Suffixes().Sum(suffix => (double)System + Prefix + suffix);

    /// <summary>Of keys and values, those that are shared once.</summary>
    public double KvElements => 2.0 * KvHeads * HeadDim * (System + (double)Groups * Prefix + Suffixes().Sum());

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}

/// <summary>The operands of such a step, and its plans; blocks of 16 at random places.</summary>
internal sealed class SharedAttentionOperands
{
    private const int BlockSize = 16;

    private readonly DeviceMatrix _queries, _result;
    private readonly KvLayer _cache;
    private readonly AttentionBatch _batch;
    private readonly AttentionPlan _shared, _apart;
    private readonly float _scale;

    public SharedAttentionOperands(Operands operands, Operators operators, SharedAttentionShape shape, DType type, DType queryType)
    {
        int[] suffixes = shape.Suffixes();
        int sequences = suffixes.Length, queryHeads = shape.KvHeads * shape.Group;
        int blocks = (shape.System + shape.Groups * shape.Prefix) / BlockSize + suffixes.Sum(BlocksOf);
        int[] order = [.. Enumerable.Range(0, blocks)];
        new Random(2).Shuffle(order);
        var free = new Queue<int>(order);
        int[] system = Take(free, shape.System / BlockSize);
        int[][] prefixes = [.. Enumerable.Range(0, shape.Groups).Select(_ => Take(free, shape.Prefix / BlockSize))];
        int[][] tables = [.. suffixes.Select((suffix, s) => (int[])[.. system, .. prefixes[s / shape.Sequences], .. Take(free, BlocksOf(suffix))])];

        int[] offsets = [.. Enumerable.Range(0, sequences + 1)], contexts = [.. suffixes.Select(suffix => shape.System + shape.Prefix + suffix - 1)];
        var blockOffsets = new int[sequences + 1];
        for (int s = 0; s < sequences; s++) blockOffsets[s + 1] = blockOffsets[s] + tables[s].Length;
        int[] blockTables = [.. tables.SelectMany(table => table)];

        var format = new KvFormat(BlockSize, shape.KvHeads, shape.HeadDim, type);
        (_shared, _apart) = (PlanOf(AttentionSharing.Best), PlanOf(AttentionSharing.Off));
        _batch = new AttentionBatch(operands.Span(offsets), operands.Span(contexts), operands.Span(blockOffsets), operands.Span(blockTables));
        _cache = new KvLayer(operands.Random(type, blocks * format.RowsPerBlock, shape.HeadDim), format);
        _queries = operands.Random(queryType, sequences, queryHeads * shape.HeadDim);
        _result = operands.Random(queryType, sequences, queryHeads * shape.HeadDim);
        _scale = 1 / MathF.Sqrt(shape.HeadDim);

        AttentionPlan PlanOf(AttentionSharing sharing)
        {
            var options = new AttentionPlannerOptions(format, blocks, queryHeads, operators.AttentionTiling(format)) { Sharing = sharing, MaxSlots = 1 << 18 };
            var planner = new AttentionPlanner(options);
            planner.Plan(offsets, contexts, blockOffsets, blockTables);
            return planner.On(operands.Span(planner.Memory.ToArray()), operands.Span(new float[planner.WorkspaceLength]));
        }
    }

    /// <summary>What sequences share is read together.</summary>
    public void AttendShared(Operators operators) => operators.Attention(_queries, _cache, _shared, _scale, _result);

    /// <summary>A plan too, but every sequence reads by itself.</summary>
    public void AttendApart(Operators operators) => operators.Attention(_queries, _cache, _apart, _scale, _result);

    /// <summary>No plan.</summary>
    public void AttendUnplanned(Operators operators) => operators.Attention(_queries, _cache, _batch, _scale, _result);

    private static int BlocksOf(int length) => (length + BlockSize - 1) / BlockSize;

    private static int[] Take(Queue<int> free, int count) => [.. Enumerable.Range(0, count).Select(_ => free.Dequeue())];
}
