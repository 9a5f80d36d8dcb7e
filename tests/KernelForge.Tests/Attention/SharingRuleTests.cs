namespace KernelForge.Tests;

/// <summary>The sharing rule finds the cheapest decision of all.</summary>
public sealed class SharingRuleTests
{
    private static readonly AttentionPlannerOptions Options =
        new(new KvFormat(16, 1, 32, DType.F16), 1 << 20, 4, new AttentionTiling(64, 512, 128, 16, 132, 40));

    public static TheoryData<int> Seeds => [.. Enumerable.Range(0, 200)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Decide_SmallForest_IsTheCheapest(int seed)
    {
        var step = new RandomStep(seed, 16, 4, seed % 2 == 0 ? 6 : 40, seed % 3 == 0 ? 40 : 1);
        AttentionPlannerOptions options = Options with { Window = seed % 5 == 0 ? 300 : 0 };
        var forest = new PrefixForest();
        var rows = new AttentionRows(options);
        var host = new AttentionStep(step.QueryOffsets, step.Contexts, step.BlockOffsets, step.BlockTables);
        forest.Build(host, step.BlockSize, findsPrefixes: true);
        rows.Build(host, forest);
        if (forest.Nodes.Length > 12) return;

        var rule = new SharingRule(options.Tiling);
        long best = Cost(rule.Decide(AttentionSharing.Best, forest, rows), forest, rows), cheapest = long.MaxValue;
        long greedy = Cost(rule.Decide(AttentionSharing.Greedy, forest, rows), forest, rows);
        var decision = new bool[forest.Nodes.Length];
        for (int bits = 0; bits < 1 << (decision.Length - 1); bits++)
        {
            for (int node = 1; node < decision.Length; node++) decision[node] = (bits >> (node - 1) & 1) != 0;
            cheapest = Math.Min(cheapest, Cost(decision, forest, rows));
        }
        Assert.Equal(cheapest, best);
        Assert.True(best <= greedy);
    }

    [Fact]
    public void Decide_LongPrefixOfManyRows_IsShared()
    {
        (int shared, int groups) = (0, 0);
        for (int seed = 0; seed < 20; seed++)
        {
            var step = new RandomStep(seed, 16, 1, 200, 1);
            var planner = new AttentionPlanner(Options);
            step.Plan(planner);
            shared += planner.Reads.Groups;
            var all = new AttentionPlanner(Options with { Sharing = AttentionSharing.All });
            step.Plan(all);
            groups += all.Reads.Groups;
        }
        Assert.InRange(shared, groups / 2, groups);
    }

    [Theory]
    [InlineData(2, 16, 192, false)]
    [InlineData(2, 8, 1024, true)]
    [InlineData(32, 8, 64, true)]
    [InlineData(3, 1, 64, true)]
    [InlineData(2, 1, 16, false)]
    public void Decide_OnTheCpu_SharesWhatCostsMoreToReadThanToHandOn(int sequences, int group, int prefix, bool isShared)
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
        var format = new KvFormat(16, 4, 64, DType.F32);
        var planner = new AttentionPlanner(new AttentionPlannerOptions(format, 1000, 4 * group, device.Operators.AttentionTiling(format)));
        int blocks = prefix / 16 + 1;
        int[] tables = [.. Enumerable.Range(0, sequences).SelectMany(s => Enumerable.Range(0, blocks).Select(i => i < blocks - 1 ? i : 500 + s))];
        planner.Plan([.. Enumerable.Range(0, sequences + 1)], [.. Enumerable.Repeat(prefix + 8, sequences)],
            [.. Enumerable.Range(0, sequences + 1).Select(s => s * blocks)], tables);
        Assert.Equal(isShared ? 1 : 0, planner.Reads.Groups);
    }

    /// <summary>What a decision costs, added up in the order of the forest.</summary>
    private static long Cost(ReadOnlySpan<bool> isShared, PrefixForest forest, AttentionRows rows)
    {
        var cost = new AttentionCost(Options.Tiling);
        var starts = new int[isShared.Length];
        long sum = 0;
        for (int node = 1; node < starts.Length; node++)
        {
            RowRange range = rows.Nodes[node];
            int above = starts[forest.Nodes[node].Parent], first = Math.Max(above, range.Low);
            bool isRead = isShared[node] && first < range.End;
            starts[node] = isRead ? range.End : above;
            if (isRead) sum += cost.Shared(range.Count, first, range.End);
        }
        for (int i = 0; i < forest.Order.Length; i++)
        {
            RowRange range = rows.Sequences[i];
            sum += cost.Own(range.Count, Math.Max(starts[forest.NodeOf[i]], range.Low), range.End);
        }
        return sum;
    }
}
