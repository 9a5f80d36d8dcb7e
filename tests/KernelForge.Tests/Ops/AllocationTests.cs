namespace KernelForge.Tests;

/// <summary>In steady state an operator makes no garbage: see <see cref="Garbage"/>.</summary>
public sealed class AllocationTests
{
    private const int Rows = 5, Columns = 96, Vocabulary = 1000;

    /// <summary>The instruction sets differ in nothing that could allocate.</summary>
    public static TheoryData<string> All => [Devices.CpuNames[^1], .. Devices.CudaNames];

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RowOperators_SteadyState_AllocateNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        bool takesMixtures = !Devices.IsCuda(deviceName);
        DType weightType = takesMixtures ? DType.F32 : DType.F16;
        using GuardedMatrix x = New(device, takesMixtures ? DType.BF16 : DType.F16), y = New(device, weightType), result = New(device, DType.F16);
        using var weight = new GuardedMatrix(device, weightType, 1, Columns, Numbers.Uniform(1, Columns));
        using GuardedMatrix angles = new(device, DType.F32, 4, 32, Numbers.Uniform(2, 4 * 32)), cache = new(device, DType.F16, 2 * 6 * 16, 32);
        using DeviceBuffer indices = device.Upload<int>([1, 0, 3, 2, 2]), slots = device.Upload<int>([9, 1, 2, 3, 4]);
        var layer = new KvLayer(cache, new KvFormat(16, 3, 32, DType.F16));
        Operators operators = device.Operators;
        Garbage.AssertNone(() => operators.RmsNorm(x, weight, 1e-5f, result));
        Garbage.AssertNone(() => operators.AddRmsNorm(x, y, weight, 1e-5f, result));
        Garbage.AssertNone(() => operators.SiluMul(x, y, result));
        Garbage.AssertNone(() => operators.Rope(x, indices.AsSpan<int>().Slice(0, Rows), angles));
        Garbage.AssertNone(() => operators.Embed(indices.AsSpan<int>(), x, result));
        Garbage.AssertNone(() => operators.AppendKv(x, y, slots.AsSpan<int>(), layer));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public unsafe void LogitOperators_SteadyState_AllocateNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        using var logits = new GuardedMatrix(device, DType.F32, Rows, Vocabulary, Numbers.Uniform(3, Rows * Vocabulary, 6));
        using DeviceBuffer tokens = device.Upload<int>(new int[Rows]), logProbs = device.Upload<float>(new float[Rows]);
        using DeviceBuffer topTokens = device.Upload<int>(new int[3 * Rows]), topLogProbs = device.Upload<float>(new float[3 * Rows]);
        using DeviceBuffer settings = device.Allocate(DType.I8, Rows * sizeof(SamplingRow)), changes = device.Allocate(DType.I8, sizeof(LogitAdjustment));
        var rows = new DeviceSpan<SamplingRow>(settings, 0, Rows);
        var adjustments = new DeviceSpan<LogitAdjustment>(changes, 0, 1);
        rows.CopyFrom([new(1, 2, 1, 0, 1, 0), new(1, 2, 1, 50, 1, 0), new(1, 2, 1, 0, 0.9f, 0), new(1, 2, 1, 40, 0.9f, 0.1f), new(1, 2, 0, 0, 1, 0)]);
        adjustments.CopyFrom([new(1, 1, 1.5f, 0)]);
        using DeviceBuffer drafted = device.Upload<int>([3, 1, -1, 4, 1]);
        DeviceSpan<int> chosen = drafted.AsSpan<int>();
        Operators operators = device.Operators;
        Garbage.AssertNone(() => operators.ArgMax(logits, tokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.Sample(logits, rows, tokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.SampleTop(logits, rows, topTokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.RejectDrafts(logits, default, rows, chosen, tokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.RejectDrafts(logits, logits, rows, chosen, tokens.AsSpan<int>()));
        Garbage.AssertNone(() => operators.AdjustLogits(logits, adjustments));
        Garbage.AssertNone(() => operators.LogProbs(logits, tokens.AsSpan<int>(), logProbs.AsSpan<float>(), topTokens.AsSpan<int>(), topLogProbs.AsSpan<float>()));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public unsafe void DraftOperators_SteadyState_AllocateNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        DraftTrees trees = DraftTrees.Random(seed: 1, Rows, mostDrafts: 9);
        using DeviceBuffer rowsMemory = device.Allocate(DType.I8, Rows * sizeof(DraftRow)), movesMemory = device.Allocate(DType.I8, trees.Nodes * sizeof(KvMove));
        using DeviceBuffer parents = device.Upload(trees.Parents), tokens = device.Upload(trees.Tokens), chosen = device.Upload(trees.Chosen), stops = device.Upload(trees.Stops);
        using DeviceBuffer memory = device.Allocate(DType.I32, VerifiedDrafts.MemoryLength(Rows, trees.Nodes));
        var rows = new DeviceSpan<DraftRow>(rowsMemory, 0, Rows);
        rows.CopyFrom(trees.Rows);
        var moves = new DeviceSpan<KvMove>(movesMemory, 0, trees.Nodes);
        var verified = new VerifiedDrafts(memory.AsSpan<int>(), Rows, trees.Nodes);
        Operators operators = device.Operators;
        Garbage.AssertNone(() => operators.VerifyDrafts(rows, parents.AsSpan<int>(), tokens.AsSpan<int>(), chosen.AsSpan<int>(), stops.AsSpan<int>(), 16, verified));
        Garbage.AssertNone(() => operators.AcceptedMoves(rows, verified, tokens.AsSpan<int>(), tokens.AsSpan<int>(), moves));
        Garbage.AssertNone(() => operators.Gather(chosen.AsSpan<int>(), tokens.AsSpan<int>(), parents.AsSpan<int>()));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Attention_SteadyState_AllocatesNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        using var cache = new GuardedMatrix(device, DType.F16, 2 * 3 * 16 * 20, 32, new float[2 * 3 * 16 * 20 * 32]);
        using GuardedMatrix queries = New(device, Devices.FloatTypes(deviceName)[0]), result = New(device, Devices.FloatTypes(deviceName)[0]);
        using DeviceBuffer offsets = device.Upload<int>([0, 2, 5]), contexts = device.Upload<int>([100, 150]);
        using DeviceBuffer blockOffsets = device.Upload<int>([0, 7, 17]), tables = device.Upload<int>([.. Enumerable.Range(0, 17)]);
        var plan = new AttentionBatch(offsets.AsSpan<int>(), contexts.AsSpan<int>(), blockOffsets.AsSpan<int>(), tables.AsSpan<int>());
        var layer = new KvLayer(cache, new KvFormat(16, 3, 32, DType.F16));
        Garbage.AssertNone(() => device.Operators.Attention(queries, layer, plan, 0.2f, result));

        var planner = new AttentionPlanner(
            new AttentionPlannerOptions(layer.Format, 20, 3, device.Operators.AttentionTiling(layer.Format)) { Sharing = AttentionSharing.All });
        planner.Plan([0, 2, 5], [100, 150], [0, 7, 17], [.. Enumerable.Range(0, 7), .. Enumerable.Range(0, 10)]);
        using DeviceBuffer memory = device.Upload(planner.Memory), workspace = device.Allocate(DType.F32, planner.WorkspaceLength);
        AttentionPlan shared = planner.On(memory.AsSpan<int>(), workspace.AsSpan<float>());
        Garbage.AssertNone(() => device.Operators.Attention(queries, layer, shared, 0.2f, result));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Realign_SteadyState_AllocatesNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        var format = new KvFormat(4, 2, 64, DType.F16);
        using var cache = new GuardedMatrix(device, DType.F16, 3 * format.RowsPerBlock, 64);
        using DeviceBuffer moves = device.Upload<int>([2, 1, 3, 2]), groups = device.Upload<int>([0, 2]), counts = device.Upload<int>([0, 0]);
        KvLayer[] layers = [new(cache, format)];
        Garbage.AssertNone(() => device.Operators.Realign(layers, moves.AsSpan<int>().As<KvMove>(), groups.AsSpan<int>()));

        using var memory = new PaddedMemory(device, new PaddedShape(2, 2, 64, 1, 6, DType.F16, PaddingSide.Left));
        memory.SetTokens([[1, 2, 3], [4]], 3);
        PaddedLayer[] padded = memory.Layers;
        PaddedBatch batch = memory.Batch;
        Garbage.AssertNone(() => device.Operators.RealignPadded(batch, padded, counts.AsSpan<int>(), counts.AsSpan<int>()));
    }

    private static GuardedMatrix New(Device device, DType type) => new(device, type, Rows, Columns, Numbers.Uniform(4, Rows * Columns));
}
