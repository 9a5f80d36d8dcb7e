namespace KernelForge.Tests;

/// <summary>What one sequence asks of attention: query tokens first .. first + count - 1, and the blocks of its positions.</summary>
public readonly record struct AttentionPart(int First, int Count, int[] Table);

/// <summary>
/// A paged cache in guarded memory whose unused slots hold NaN, and attention over it. Which blocks belong to whom is up to its users: two may share some.
/// </summary>
public sealed class PagedCache(Device device, KvFormat format, int queryHeads, int blocks) : IDisposable
{
    private const int AlignedGap = 8; // between query rows: with it they start at multiples of 16 bytes, as the kernels of plans want them

    private readonly GuardedMatrix _memory = new(device, format.DType, blocks * format.RowsPerBlock, format.HeadDim);
    private float[]? _values;

    /// <summary>The cache as operators take it.</summary>
    public KvLayer Layer => new(_memory, format);

    public float Scale => 1 / MathF.Sqrt(format.HeadDim);

    private int Columns => queryHeads * format.HeadDim;

    /// <summary>Stores keys and values, one row of all heads per position, at positions 0 and up of a block table.</summary>
    public void Append(int[] table, float[] keys, float[] values)
    {
        int columns = format.KvHeads * format.HeadDim, length = keys.Length / columns;
        if (length == 0) return;
        using var keyRows = new GuardedMatrix(device, format.DType, length, columns, keys);
        using var valueRows = new GuardedMatrix(device, format.DType, length, columns, values);
        int[] slots = [.. Enumerable.Range(0, length).Select(p => table[p / format.BlockSize] * format.BlockSize + p % format.BlockSize)];
        using DeviceBuffer slotBuffer = device.Upload<int>(slots);
        device.Operators.AppendKv(keyRows, valueRows, slotBuffer.AsSpan<int>(), Layer);
        _memory.AssertUntouchedAround();
        _values = null;
    }

    /// <summary>The key of a head at a position, as the cache holds it.</summary>
    public float[] Key(int[] table, int head, int position) =>
        Row(Layer.KeyRow(table[position / format.BlockSize], head) + position % format.BlockSize);

    /// <summary>The value of a head at a position, as the cache holds it.</summary>
    public float[] Value(int[] table, int head, int position) =>
        Row(Layer.ValueRow(table[position / format.BlockSize], head) + position % format.BlockSize);

    /// <summary>What a planner for this cache needs; vary it with <c>with</c>.</summary>
    public AttentionPlannerOptions PlannerOptions(int window = 0) =>
        new(format, blocks, queryHeads, device.Operators.AttentionTiling(format)) { Window = window };

    /// <summary>
    /// Attention of all parts in one call: over their batch, or over what the planner makes of it, whose window must be the same.
    /// Returns the output rows of each part.
    /// </summary>
    /// <param name="rows">Query rows, one part after the other.</param>
    /// <param name="parts">Their places.</param>
    public float[][] Attend(
        float[] rows, AttentionPart[] parts, DType queryType, DType resultType, int window = 0, float softCap = 0, AttentionPlanner? planner = null)
    {
        int[] offsets = Offsets(parts.Select(p => p.Count)), contexts = [.. parts.Select(p => p.First)];
        int[][] used = [.. parts.Select(p => p.Table[..((p.First + p.Count + format.BlockSize - 1) / format.BlockSize)])];
        int[] blockOffsets = Offsets(used.Select(t => t.Length)), tables = [.. used.SelectMany(t => t)];
        if (planner is null)
            return Attend(rows, parts, queryType, resultType, 3, (queries, result) => AttendBatch(queries, result, offsets, contexts, blockOffsets, tables, window, softCap));
        planner.Plan(offsets, contexts, blockOffsets, tables);
        return Attend(rows, parts, queryType, resultType, AlignedGap, (queries, result) => AttendPlan(queries, result, planner, softCap));
    }

    /// <summary>The same over a plan for these parts.</summary>
    public float[][] Attend(float[] rows, AttentionPart[] parts, DType queryType, DType resultType, AttentionPlan plan, float softCap = 0) =>
        Attend(rows, parts, queryType, resultType, AlignedGap, (queries, result) => device.Operators.Attention(queries, Layer, plan, Scale, result, softCap));

    public void Dispose() => _memory.Dispose();

    private static int[] Offsets(IEnumerable<int> lengths)
    {
        List<int> offsets = [0];
        foreach (int length in lengths) offsets.Add(offsets[^1] + length);
        return [.. offsets];
    }

    private float[][] Attend(
        float[] rows, AttentionPart[] parts, DType queryType, DType resultType, int queryGap, Action<GuardedMatrix, GuardedMatrix> attend)
    {
        int tokens = parts.Sum(p => p.Count);
        using var queries = new GuardedMatrix(device, queryType, tokens, Columns, rows, queryGap);
        using var result = new GuardedMatrix(device, resultType, tokens, Columns, gap: 5);
        attend(queries, result);
        result.AssertUntouchedAround();
        float[] all = result.Get();
        int start = 0;
        return [.. parts.Select(p => all[(start * Columns)..((start += p.Count) * Columns)])];
    }

    private void AttendBatch(
        GuardedMatrix queries, GuardedMatrix result, int[] offsets, int[] contexts, int[] blockOffsets, int[] tables, int window, float softCap)
    {
        using DeviceBuffer o = device.Upload<int>(offsets), c = device.Upload<int>(contexts), b = device.Upload<int>(blockOffsets), t = device.Upload<int>(tables);
        var batch = new AttentionBatch(o.AsSpan<int>(), c.AsSpan<int>(), b.AsSpan<int>(), t.AsSpan<int>(), window);
        device.Operators.Attention(queries, Layer, batch, Scale, result, softCap);
    }

    private void AttendPlan(GuardedMatrix queries, GuardedMatrix result, AttentionPlanner planner, float softCap)
    {
        var ints = new int[planner.MemoryLength];
        planner.Memory.CopyTo(ints);
        using DeviceBuffer memory = device.Upload<int>(ints);
        using var workspace = new GuardedMatrix(device, DType.F32, 1, checked((int)planner.WorkspaceLength));
        device.Operators.Attention(queries, Layer, planner.On(memory.AsSpan<int>(), workspace.Span<float>()), Scale, result, softCap);
        workspace.AssertUntouchedAround();
    }

    private float[] Row(int row) => (_values ??= _memory.Get())[(row * format.HeadDim)..((row + 1) * format.HeadDim)];
}
