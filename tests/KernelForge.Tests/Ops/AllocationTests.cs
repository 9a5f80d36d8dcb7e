namespace KernelForge.Tests;

/// <summary>In steady state an operator makes no garbage: see <see cref="Garbage"/>.</summary>
public sealed class AllocationTests : IDisposable
{
    private const int Rows = 5, Columns = 96, Vocabulary = 4000;

    private readonly Device _subject = Devices.OpenAlone(Devices.Names[^1]);

    public void Dispose() => _subject.Dispose();

    [Fact]
    public void RowOperators_SteadyState_AllocateNothing()
    {
        using GuardedMatrix x = New(DType.BF16), y = New(DType.F32), result = New(DType.F16), weight = new(_subject, DType.F32, 1, Columns, Numbers.Uniform(1, Columns));
        using GuardedMatrix angles = new(_subject, DType.F32, 4, 32, Numbers.Uniform(2, 4 * 32)), cache = new(_subject, DType.F16, 2 * 6 * 16, 32);
        using DeviceBuffer indices = _subject.Upload<int>([1, 0, 3, 2, 2]), slots = _subject.Upload<int>([9, 1, 2, 3, 4]);
        var layer = new KvLayer(cache, new KvFormat(16, 3, 32, DType.F16));
        Operators operators = _subject.Operators;
        Garbage.AssertNone(() => operators.RmsNorm(x, weight, 1e-5f, result));
        Garbage.AssertNone(() => operators.AddRmsNorm(x, y, weight, 1e-5f, result));
        Garbage.AssertNone(() => operators.SiluMul(x, y, result));
        Garbage.AssertNone(() => operators.Rope(x, indices.AsSpan<int>().Slice(0, Rows), angles));
        Garbage.AssertNone(() => operators.Embed(indices.AsSpan<int>(), x, result));
        Garbage.AssertNone(() => operators.AppendKv(x, y, slots.AsSpan<int>(), layer));
    }

    [Fact]
    public unsafe void LogitOperators_SteadyState_AllocateNothing()
    {
        using var logits = new GuardedMatrix(_subject, DType.F32, Rows, Vocabulary, Numbers.Uniform(3, Rows * Vocabulary, 6));
        using DeviceBuffer tokens = _subject.Upload<int>(new int[Rows]), logProbs = _subject.Upload<float>(new float[Rows]);
        using DeviceBuffer topTokens = _subject.Upload<int>(new int[3 * Rows]), topLogProbs = _subject.Upload<float>(new float[3 * Rows]);
        using DeviceBuffer settings = _subject.Allocate(DType.I8, Rows * sizeof(SamplingRow)), changes = _subject.Allocate(DType.I8, sizeof(LogitAdjustment));
        var rows = new DeviceSpan<SamplingRow>(settings, 0, Rows);
        var adjustments = new DeviceSpan<LogitAdjustment>(changes, 0, 1);
        rows.CopyFrom([new(1, 2, 1, 0, 1, 0), new(1, 2, 1, 50, 1, 0), new(1, 2, 1, 0, 0.9f, 0), new(1, 2, 1, 40, 0.9f, 0.1f), new(1, 2, 0, 0, 1, 0)]);
        adjustments.CopyFrom([new(1, 1, 1.5f, 0)]);
        Operators operators = _subject.Operators;
        Garbage.AssertNone(() => operators.ArgMax(logits, tokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.Sample(logits, rows, tokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.AdjustLogits(logits, adjustments));
        Garbage.AssertNone(() => operators.LogProbs(logits, tokens.AsSpan<int>(), logProbs.AsSpan<float>(), topTokens.AsSpan<int>(), topLogProbs.AsSpan<float>()));
    }

    [Fact]
    public void Attention_SteadyState_AllocatesNothing()
    {
        using var cache = new GuardedMatrix(_subject, DType.F16, 2 * 3 * 16 * 20, 32, new float[2 * 3 * 16 * 20 * 32]);
        using GuardedMatrix queries = New(DType.F32), result = New(DType.F32);
        using DeviceBuffer offsets = _subject.Upload<int>([0, 2, 5]), contexts = _subject.Upload<int>([100, 150]);
        using DeviceBuffer blockOffsets = _subject.Upload<int>([0, 7, 17]), tables = _subject.Upload<int>([.. Enumerable.Range(0, 17)]);
        var plan = new AttentionPlan(offsets.AsSpan<int>(), contexts.AsSpan<int>(), blockOffsets.AsSpan<int>(), tables.AsSpan<int>());
        var layer = new KvLayer(cache, new KvFormat(16, 3, 32, DType.F16));
        Garbage.AssertNone(() => _subject.Operators.Attention(queries, layer, plan, 0.2f, result));
    }

    private GuardedMatrix New(DType type) => new(_subject, type, Rows, Columns, Numbers.Uniform(4, Rows * Columns));
}
