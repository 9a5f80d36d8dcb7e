namespace KernelForge.Tests;

/// <summary>Whatever a planner decides, every row folds the tiles that it sees in the order of the canon.</summary>
public sealed class AttentionPlannerTests : IDisposable
{
    private readonly Device _device = Device.OpenCpu();

    public static TheoryData<int> Seeds => [.. Enumerable.Range(0, 24)];

    public void Dispose() => _device.Dispose();

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Plan_RandomForest_FoldsEveryRowInOrder(int seed)
    {
        var random = new Random(seed);
        for (int i = 0; i < 4; i++)
        {
            var step = new RandomStep(random.Next(), random.Next(2) == 0 ? 16 : 32, random.Next(1, 5), random.Next(2) == 0 ? 12 : 50, random.Next(3) == 0 ? 200 : 12);
            foreach (AttentionPlannerOptions options in Variants(random, step)) Check(step, options, random.Next(2) == 0 ? random.Next() : null);
        }
    }

    /// <summary>A planner that keeps what it can from step to step, and one of fixed capacity.</summary>
    [Theory]
    [MemberData(nameof(Seeds))]
    public void Plan_StepAfterStep_FoldsEveryRowInOrder(int seed)
    {
        var random = new Random(seed);
        var step = new RandomStep(seed, 16, 3, 20, 20);
        AttentionPlannerOptions options = Variants(random, step).ElementAt(seed % 4) with { Blocks = 1 << 20 };
        if (seed % 3 == 0) options = options with { Capacity = new AttentionCapacity(4000, 200, 100_000, 4000) };
        var planner = new AttentionPlanner(options);
        int length = 0;
        for (int i = 0; i < 30; i++, step.Advance())
        {
            step.Plan(planner);
            if (i > 0) Assert.Equal(options.Window == 0, planner.WasReused);
            if (i > 0 && options.Capacity is not null) Assert.Equal(length, planner.MemoryLength);
            length = planner.MemoryLength;
            Check(planner, options);
        }
        new RandomStep(seed + 1, 16, 3, 20, 20).Plan(planner);
        Assert.False(planner.WasReused);
        Check(planner, options);
    }

    [Fact]
    public void Plan_TableChangedBehindSharedBlocks_IsPlannedAnew()
    {
        var planner = new AttentionPlanner(Options() with { Sharing = AttentionSharing.All });
        planner.Plan([0, 1, 2], [64, 64], [0, 5, 10], [1, 2, 3, 4, 5, 1, 2, 3, 4, 6]);
        Assert.Equal(1, planner.Reads.Groups);
        planner.Plan([0, 1, 2], [65, 65], [0, 5, 10], [1, 2, 3, 4, 5, 1, 2, 3, 4, 6]);
        Assert.True(planner.WasReused);
        planner.Plan([0, 1, 2], [66, 66], [0, 5, 10], [1, 2, 3, 4, 5, 1, 2, 3, 9, 6]);
        Assert.False(planner.WasReused);
        Assert.Equal(0, planner.Reads.Groups);
    }

    /// <summary>Every prefix is read once in a row tile, and of it again what lies behind its last whole tile.</summary>
    [Theory]
    [MemberData(nameof(Seeds))]
    public void Plan_AllShared_ReadsEachPrefixOnce(int seed)
    {
        var step = new RandomStep(seed, 16, 4, 40, seed % 2 == 0 ? 1 : 60);
        AttentionPlannerOptions options = Options() with { Sharing = AttentionSharing.All, Blocks = step.Blocks, MaxSlots = 1 << 24 };
        var planner = new AttentionPlanner(options);
        step.Plan(planner);

        var host = new AttentionStep(step.QueryOffsets, step.Contexts, step.BlockOffsets, step.BlockTables);
        var forest = new PrefixForest();
        forest.Build(host, step.BlockSize, findsPrefixes: true);
        long exact = 0, again = 0;
        foreach (PrefixNode node in forest.Nodes[1..].ToArray())
        {
            int tokens = 0;
            for (int i = node.First; i < node.First + node.Count; i++) tokens += host.Length(forest.Order[i]);
            int tiles = (tokens * options.Group + 127) / 128;
            exact += (long)tiles * (node.End - forest.Nodes[node.Parent].End) * step.BlockSize;
            again += (long)tiles * (options.Tiling.TileSize - 1);
        }
        for (int i = 0; i < forest.Order.Length; i++)
        {
            int s = forest.Order[i], rows = host.Length(s) * options.Group, start = forest.Nodes[forest.NodeOf[i]].End * step.BlockSize;
            int tiles = rows <= 16 ? 1 : (rows + 127) / 128;
            exact += (long)tiles * (step.Contexts[s] + host.Length(s) - start);
            again += (long)tiles * (options.Tiling.TileSize - 1);
        }
        Assert.InRange(planner.Reads.Positions, 0, exact + again);
        Assert.True(planner.Reads.Positions <= planner.Reads.PositionsUnshared + again);
    }

    [Fact]
    public void Plan_ThreeLevels_ReportsWhatIsRead()
    {
        var planner = new AttentionPlanner(Options() with { Blocks = 1000 });
        PlanThreeLevels(planner, context: 1000);
        AttentionReads reads = planner.Reads;
        Assert.Equal((8 * 1001L, 3, 2), (reads.PositionsUnshared, reads.Groups, reads.Levels));
        Assert.Equal(2 * 2 * 32 * 2, reads.BytesPerPosition);
        Assert.Equal(512 + 2 * 256 + 8 * (1001 - 768), reads.Positions);
    }

    [Theory]
    [InlineData(2, 1, 1, 4096)]
    [InlineData(2, 3, 8, 2048)]
    [InlineData(4, 1, 8, 16_384)]
    [InlineData(4, 3, 2, 8192)]
    [InlineData(8, 4, 4, 32_000)]
    [InlineData(16, 2, 1, 50_000)]
    public void Plan_LongSequenceAloneOnTheCpu_KeepsAllThreadsBusy(int threads, int kvHeads, int group, int context)
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = threads });
        var format = new KvFormat(16, kvHeads, 64, DType.BF16);
        int[] table = [.. Enumerable.Range(0, context / 16 + 1)];
        var planner = new AttentionPlanner(new AttentionPlannerOptions(format, table.Length, kvHeads * group, device.Operators.AttentionTiling(format)));
        planner.Plan([0, 1], [context], [0, table.Length], table);
        using DeviceBuffer memory = device.Upload(planner.Memory), workspace = device.Allocate(DType.F32, Math.Max(1, planner.WorkspaceLength));
        AttentionPlan plan = planner.On(memory.AsSpan<int>(), workspace.AsSpan<float>());
        int[] busy = new int[threads];
        foreach (AttentionItem item in plan.WideItems.ToArray())
            for (int head = 0; head < kvHeads; head++) busy[Array.IndexOf(busy, busy.Min())] += item.End - item.First;
        Assert.Equal(1, plan.Passes);
        Assert.Equal((context + 1) * kvHeads, busy.Sum());
        Assert.InRange(busy.Max(), 0, busy.Sum() / threads + 512);
    }

    [Fact]
    public void Plan_BadStep_ThrowsAndKeepsTheLastPlan()
    {
        var planner = new AttentionPlanner(Options() with { Blocks = 10, Capacity = new AttentionCapacity(4, 2, 8, 4) });
        planner.Plan([0, 1], [20], [0, 2], [3, 4]);
        int[] memory = planner.Memory.ToArray();
        AssertThrows("block 10 in a block table, the cache has 10", [0, 1], [20], [0, 2], [3, 10]);
        AssertThrows("block -1 in a block table", [0, 1], [20], [0, 2], [-1, 4]);
        AssertThrows("too few for 32 + 1 tokens", [0, 1], [32], [0, 2], [3, 4]);
        AssertThrows("-1 query tokens", [0, 2, 1], [20, 20], [0, 2, 4], [3, 4, 3, 4]);
        AssertThrows("query offsets start at 1", [1, 2], [20], [0, 2], [3, 4]);
        AssertThrows("2 query offsets and 3 block offsets", [0, 2], [20, 20], [0, 2, 4], [3, 4, 3, 4]);
        AssertThrows("beyond the capacity", [0, 5], [20], [0, 2], [3, 4]);
        Assert.Equal(memory, planner.Memory);

        void AssertThrows(string message, int[] queryOffsets, int[] contexts, int[] blockOffsets, int[] blockTables) =>
            Assert.Contains(message, Assert.Throws<ArgumentException>(() => planner.Plan(queryOffsets, contexts, blockOffsets, blockTables)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_Contradictory_Throw()
    {
        Assert.Throws<ArgumentException>(() => new AttentionPlanner(Options() with { QueryHeads = 3 }));
        Assert.Throws<ArgumentException>(() => new AttentionPlanner(Options() with { Window = -1 }));
        Assert.Throws<ArgumentException>(() => new AttentionPlanner(Options() with { MaxPasses = 0 }));
    }

    [Fact]
    public void Plan_SteadyState_AllocatesNothing()
    {
        foreach (AttentionSharing sharing in Enum.GetValues<AttentionSharing>())
        {
            var planner = new AttentionPlanner(Options() with { Blocks = 1000, Sharing = sharing });
            int context = 1000;
            Garbage.AssertNone(() => PlanThreeLevels(planner, context));
            Garbage.AssertNone(() => PlanThreeLevels(planner, context ^= 1)); // shrinks and grows: planned anew and reused in turn
        }
    }

    /// <summary>Eight sequences: 512 positions of all, 256 of each half of them, the rest their own.</summary>
    private static void PlanThreeLevels(AttentionPlanner planner, int context)
    {
        Span<int> queryOffsets = stackalloc int[9], contexts = stackalloc int[8], blockOffsets = stackalloc int[9], tables = stackalloc int[8 * 64];
        for (int s = 0; s < 8; s++)
        {
            (queryOffsets[s + 1], contexts[s], blockOffsets[s + 1]) = (s + 1, context, (s + 1) * 64);
            for (int i = 0; i < 64; i++) tables[s * 64 + i] = i < 32 ? i : i < 48 ? (s % 2 + 1) * 32 + i : 200 + s * 64 + i;
        }
        planner.Plan(queryOffsets, contexts, blockOffsets, tables);
    }

    private static AttentionPlannerOptions Options() => new(new KvFormat(16, 2, 32, DType.F16), 100, 8, new AttentionTiling(64, 512, 128, 16, 132, 40));

    /// <summary>All ways to share, with room and without.</summary>
    private static IEnumerable<AttentionPlannerOptions> Variants(Random random, RandomStep step)
    {
        foreach (AttentionSharing sharing in Enum.GetValues<AttentionSharing>())
        {
            bool isCpu = random.Next(3) == 0;
            int kvHeads = random.Next(1, 3), group = new[] { 1, 2, 3, 4, 8 }[random.Next(5)];
            var tiling = new AttentionTiling(random.Next(2) == 0 ? 64 : 128, 512, isCpu ? 256 : 128, isCpu ? 0 : 16, random.Next(1, 200), 40);
            yield return new AttentionPlannerOptions(new KvFormat(step.BlockSize, kvHeads, 32, DType.F16), step.Blocks, kvHeads * group, tiling)
            {
                Sharing = sharing,
                Window = random.Next(3) == 0 ? random.Next(1, 900) : 0,
                MaxSlots = random.Next(3) == 0 ? random.Next(0, 300) : 1 << 16,
                MaxPasses = random.Next(3) == 0 ? random.Next(1, 4) : 8,
            };
        }
    }

    private AttentionPlan Check(RandomStep step, AttentionPlannerOptions options, int? forcedSeed)
    {
        var planner = new AttentionPlanner(options);
        if (forcedSeed is { } seed && options.Sharing == AttentionSharing.All) planner.Forced = node => new Random(seed + node).Next(2) == 0;
        step.Plan(planner);
        int blocks = Enumerable.Range(0, step.Sequences).Max(s => step.Table(s).Length);
        Assert.InRange(planner.MemoryLength, 1, AttentionPlanner.MaxMemoryLength(options, step.QueryOffsets[^1], step.Sequences, blocks));
        return Check(planner, options);
    }

    private AttentionPlan Check(AttentionPlanner planner, AttentionPlannerOptions options)
    {
        using DeviceBuffer memory = _device.Allocate(DType.I32, planner.MemoryLength), workspace = _device.Allocate(DType.F32, Math.Max(1, planner.WorkspaceLength));
        memory.AsSpan<int>().Slice(0, planner.Memory.Length).CopyFrom(planner.Memory);
        AttentionPlan plan = planner.On(memory.AsSpan<int>(), workspace.AsSpan<float>());
        Assert.True(plan.Passes <= options.MaxPasses && plan.Slots <= options.MaxSlots);
        new PlanInterpreter(plan).Check();
        return plan;
    }
}
