namespace KernelForge.Tests;

/// <summary>
/// Attention with a plan against attention without one, on the same blocks: the bits are the same, whatever is shared. And against the definition.
/// </summary>
public sealed class SharedAttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Tile = 64, Split = 512;

    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string, DType> AllTypes()
    {
        var data = new TheoryData<string, DType>();
        foreach (string device in Devices.Names)
            foreach (DType type in Devices.FloatTypes(device)) data.Add(device, type);
        return data;
    }

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void SharedAttention_PrefixesAroundTilesAndSplits_GiveTheBitsOfNoPlan(string deviceName, DType type)
    {
        var format = new KvFormat(16, 1, 16, type);
        foreach (int start in Devices.IsCuda(deviceName) ? (int[])[Split] : [0, Split, 2 * Split])
        {
            foreach (int rest in (int[])[-16, 0, 16, Tile - 16, Tile, Tile + 16, 2 * Tile, 7 * Tile + 16])
            {
                if (start + rest > 0) AssertSameBits(deviceName, format, 2, [new SharedPrefix(start + rest, new OwnSuffix(1), new OwnSuffix(20), new OwnSuffix(70, Queries: 2))]);
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SharedAttention_ForestsOfUpToThreeLevels_GiveTheBitsOfNoPlan(string deviceName)
    {
        SharedPart[][] forests =
        [
            [new SharedPrefix(16, new OwnSuffix(1), new OwnSuffix(1))], // one block
            [new SharedPrefix(48, new OwnSuffix(9))], // a group of one
            [new OwnSuffix(1), new OwnSuffix(600), new OwnSuffix(64, Queries: 64)], // nothing is shared
            [new SharedPrefix(64, new OwnSuffix(0), new OwnSuffix(0, Queries: 3), new OwnSuffix(2))], // query tokens within the prefix
            [new SharedPrefix(528, new SharedPrefix(32, new OwnSuffix(1), new OwnSuffix(20)), new OwnSuffix(5, Queries: 4)), new OwnSuffix(7)],
            [new SharedPrefix(496, new SharedPrefix(32, new SharedPrefix(16, Twins(3)), new OwnSuffix(1)), new SharedPrefix(80, Twins(2)), new OwnSuffix(33, Queries: 40))],
            [new SharedPrefix(112, new SharedPrefix(400, new SharedPrefix(512, Twins(2)), new OwnSuffix(3)), new OwnSuffix(70)), new SharedPrefix(64, Twins(2)), new OwnSuffix(130)],
        ];
        foreach (SharedPart[] forest in forests) AssertSameBits(deviceName, new KvFormat(16, 1, 16, Devices.FloatTypes(deviceName)[^1]), 2, forest);

        static SharedPart[] Twins(int count) => [.. Enumerable.Range(1, count).Select(i => new OwnSuffix(i))];
    }

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void SharedAttention_AnyHeadsAndBlockSize_GivesTheBitsOfNoPlan(string deviceName, DType type)
    {
        (int KvHeads, int Group, int HeadDim, int BlockSize)[] shapes = [(2, 4, 64, 16), (1, 3, 96, 32), (2, 1, 128, 64), (1, 8, 256, 16), (1, 5, 80, 16)];
        foreach ((int kvHeads, int group, int headDim, int blockSize) in shapes)
        {
            AssertSameBits(deviceName, new KvFormat(blockSize, kvHeads, headDim, type), kvHeads * group,
                [new SharedPrefix(64, new SharedPrefix(64, new OwnSuffix(1), new OwnSuffix(17), new OwnSuffix(3)), new OwnSuffix(64, Queries: 5))]);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SharedAttention_WindowAndSoftCap_GiveTheBitsOfNoPlan(string deviceName)
    {
        SharedPart[] forest = [new SharedPrefix(528, new SharedPrefix(96, new OwnSuffix(1), new OwnSuffix(40)), new OwnSuffix(70, Queries: 20), new OwnSuffix(2))];
        var format = new KvFormat(16, 1, 16, Devices.FloatTypes(deviceName)[0]);
        foreach (int window in (int[])[1, Tile - 1, Tile + 1, 100, Split, Split + 1, 10_000]) AssertSameBits(deviceName, format, 2, forest, window);
        AssertSameBits(deviceName, format, 2, forest, window: 0, softCap: 5);
        AssertSameBits(deviceName, format, 2, forest, window: 90, softCap: 20);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SharedAttention_LittleRoomAndFixedCapacity_GiveTheBitsOfNoPlan(string deviceName)
    {
        SharedPart[] forest = [new SharedPrefix(1040, new SharedPrefix(96, new OwnSuffix(1), new OwnSuffix(40)), new OwnSuffix(600)), new OwnSuffix(30, Queries: 9)];
        using var shared = new SharedSequences(
            devices.Open(deviceName), new KvFormat(16, 1, 16, Devices.FloatTypes(deviceName)[0]), queryHeads: 2, seed: 3, range: 2, forest);
        float[][] expected = Attend(shared, null);
        AttentionPlannerOptions options = shared.Cache.PlannerOptions() with { Sharing = AttentionSharing.All };
        foreach (int slots in (int[])[0, 5, 12, 40])
            foreach (int passes in (int[])[1, 2, 3]) AssertSameBits(expected, Attend(shared, options with { MaxSlots = slots, MaxPasses = passes }));
        int blockIds = shared.Sequences.Sum(s => s.Table.Length);
        AssertSameBits(expected, Attend(shared, options with { MaxSlots = 2000, Capacity = new AttentionCapacity(12, 8, blockIds + 50, 100) }));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SharedAttention_TwoLevels_EqualsTheDefinition(string deviceName)
    {
        foreach ((int window, float softCap) in ((int, float)[])[(0, 0), (0, 10), (100, 0), (600, 30)])
        {
            DType type = Devices.FloatTypes(deviceName)[0];
            using var shared = new SharedSequences(devices.Open(deviceName), new KvFormat(16, 2, 64, type), queryHeads: 4, seed: 9, range: 2,
                new SharedPrefix(528, new SharedPrefix(48, new OwnSuffix(1), new OwnSuffix(30)), new OwnSuffix(9)));
            float[][] actual = shared.Attend(type, type, new AttentionPlanner(shared.Cache.PlannerOptions(window)), softCap);
            for (int s = 0; s < actual.Length; s++) AssertDefinition(deviceName, shared, s, actual[s], type, window, softCap);
        }
    }

    [Fact]
    public void SharedAttention_AnyThreadsAndInstructionSet_GivesTheSameBits()
    {
        float[][]? expected = null;
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using var shared = new SharedSequences(device, new KvFormat(16, 2, 80, DType.BF16), queryHeads: 6, seed: 4, range: 2,
                new SharedPrefix(560, new SharedPrefix(96, new OwnSuffix(1), new OwnSuffix(40)), new OwnSuffix(600)), new OwnSuffix(30, Queries: 9));
            expected ??= Attend(shared, null);
            AssertSameBits(expected, Attend(shared, shared.Cache.PlannerOptions()));
        }
    }

    [Fact]
    public void SharedAttention_BrokenPlans_SayWhatIsWrong()
    {
        Device device = devices.Open(Devices.CpuNames[0]);
        var format = new KvFormat(16, 1, 16, DType.F32);
        using var cache = new PagedCache(device, format, queryHeads: 2, blocks: 8);
        var planner = new AttentionPlanner(cache.PlannerOptions());
        planner.Plan([0, 1, 2], [40, 40], [0, 3, 6], [0, 1, 2, 0, 1, 3]);
        using var queries = new GuardedMatrix(device, DType.F32, 2, 32, new float[64]);
        using var fewer = new GuardedMatrix(device, DType.F32, 1, 32, new float[32]);
        using var narrow = new GuardedMatrix(device, DType.F32, 2, 16, new float[32]);
        using DeviceBuffer memory = device.Upload(planner.Memory), workspace = device.Allocate(DType.F32, Math.Max(1, planner.WorkspaceLength));
        AttentionPlan plan = planner.On(memory.AsSpan<int>(), workspace.AsSpan<float>());
        AssertSays("the plan is for [2, 2 * 16]", fewer);
        AssertSays("the plan is for [2, 2 * 16]", narrow);
        AssertSays("block 8", queries, () => plan.Batch.BlockTables.OnCpu[4] = 8);
        AssertSays("token 2 of 2", queries, () => plan.RowTokens.OnCpu[1] = 2);
        AssertSays("rows 3 + 4 of 4", queries, () => (plan.WideItems.OnCpu[0].FirstRow, plan.WideItems.OnCpu[0].Rows) = (3, 4));
        AssertSays("slots 1000000", queries, () => plan.WideItems.OnCpu[0].CarryIn = 1_000_000);
        AssertSays("from block id 5", queries, () => plan.WideItems.OnCpu[0].Table = 5);

        void AssertSays(string part, GuardedMatrix given, Action? damage = null)
        {
            memory.AsSpan<int>().CopyFrom(planner.Memory);
            damage?.Invoke();
            var error = Assert.Throws<ArgumentException>(() => device.Operators.Attention(given, cache.Layer, plan, 1, given));
            Assert.Contains(part, error.Message);
        }
    }

    private static float[][] Attend(SharedSequences shared, AttentionPlannerOptions? options, float softCap = 0)
    {
        DType type = shared.Cache.Layer.Format.DType;
        return options is null ? shared.Attend(type, type, window: 0, softCap) : shared.Attend(type, type, new AttentionPlanner(options), softCap);
    }

    private static void AssertSameBits(float[][] expected, float[][] actual)
    {
        for (int s = 0; s < expected.Length; s++) Close.AssertSameBits(expected[s], actual[s]);
    }

    /// <summary>Under every rule of sharing, and under decisions of chance.</summary>
    private void AssertSameBits(string deviceName, KvFormat format, int queryHeads, SharedPart[] forest, int window = 0, float softCap = 0)
    {
        using var shared = new SharedSequences(devices.Open(deviceName), format, queryHeads, seed: 1, range: 2, forest);
        float[][] expected = shared.Attend(format.DType, format.DType, window, softCap);
        foreach (AttentionSharing sharing in Enum.GetValues<AttentionSharing>())
            AssertSameBits(expected, Attend(shared, shared.Cache.PlannerOptions(window) with { Sharing = sharing }, softCap));
        for (int seed = 0; seed < 3; seed++)
        {
            var random = new Random(seed);
            var planner = new AttentionPlanner(shared.Cache.PlannerOptions(window)) { Forced = _ => random.Next(2) == 0 };
            AssertSameBits(expected, shared.Attend(format.DType, format.DType, planner, softCap));
        }
    }

    private static void AssertDefinition(string deviceName, SharedSequences shared, int s, float[] actual, DType type, int window, float softCap)
    {
        (int first, int count, int[] table) = shared.Sequences[s];
        KvFormat format = shared.Cache.Layer.Format;
        double roundedWeights = Devices.IsCuda(deviceName) ? Close.UnitRoundoff(type) : 0;
        int heads = actual.Length / count / format.HeadDim, group = heads / format.KvHeads;
        for (int token = 0; token < count; token++)
        {
            int visible = first + token + 1, from = window == 0 ? 0 : Math.Max(0, visible - window);
            for (int head = 0; head < heads; head++)
            {
                (double[] expected, double[] magnitude) = ReferenceAttention.Compute(shared.Query(s, token, head, type),
                    j => shared.Cache.Key(table, head / group, j), j => shared.Cache.Value(table, head / group, j), visible, shared.Cache.Scale, from, softCap);
                Close.AssertEqual(expected, actual.AsSpan((token * heads + head) * format.HeadDim, format.HeadDim), i =>
                    Close.Bound(type, expected[i], visible + 4 * format.HeadDim, magnitude[i])
                    + (roundedWeights + ReferenceAttention.SoftCapError(softCap)) * magnitude[i]);
            }
        }
    }
}
