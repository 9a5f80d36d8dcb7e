namespace KernelForge.Tests;

/// <summary>The kernels of narrow items and of merges over plans made by hand: any rows, any cut, the bits of attention without a plan.</summary>
public sealed class NarrowAttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly DType[] HalfTypes = [DType.F16, DType.BF16];

    public static TheoryData<string, DType, int> HeadDims => Cases.Of(Devices.CudaNames, HalfTypes, [8, 64, 80, 96, 128, 200, 256]);

    public static TheoryData<string, int, int> Heads => Cases.Of(Devices.CudaNames, (int[])[1, 3, 4, 8, 16], [1, 2]);

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    [DeviceTheory]
    [MemberData(nameof(HeadDims))]
    public void NarrowAttention_AnyHeadDim_GivesTheBitsOfTheDefinition(string deviceName, DType type, int headDim)
    {
        // Carried in with a list, result; the same to the next split, records and a merge; 18 rows.
        SharedPart[] forest = [new SharedPrefix(704, new OwnSuffix(20), new OwnSuffix(400, 3), new OwnSuffix(9, 9))];
        AssertSameBits(deviceName, new KvFormat(16, 1, headDim, type), queryHeads: 2, forest, DType.F32, (plan, s) => FinishAll(plan, s, 640));
        AssertSameBits(deviceName, new KvFormat(16, 1, headDim, type), queryHeads: 2, forest, type, (plan, s) => FinishAll(plan, s, 0));
    }

    [DeviceTheory]
    [MemberData(nameof(Heads))]
    public void NarrowAttention_AnyHeads_GiveTheBitsOfTheDefinition(string deviceName, int group, int kvHeads)
    {
        // Rows from one to several items of 16.
        SharedPart[] forest = [new SharedPrefix(272, [.. Enumerable.Range(1, 6).Select(i => new OwnSuffix(3 * i + 40, i))]), new OwnSuffix(17, 16)];
        AssertSameBits(deviceName, new KvFormat(16, kvHeads, 64, DType.BF16), group * kvHeads, forest, DType.F32, (plan, s) => FinishAll(plan, s, 0));
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void NarrowAttention_AnyRows_GiveTheBitsOfTheDefinition(string deviceName) =>
        AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 1, [new SharedPrefix(144, [.. Enumerable.Range(1, 17).Select(i => new OwnSuffix(i, i))])],
            DType.F16, (plan, s) => FinishAll(plan, s, 128));

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void NarrowAttention_CarryAtEveryTile_GivesTheBitsOfTheDefinition(string deviceName)
    {
        for (int first = 64; first < 1088; first += 64)
        {
            AssertSameBits(deviceName, new KvFormat(32, 1, 64, DType.BF16), queryHeads: 2, [new SharedPrefix(1088, new OwnSuffix(1), new OwnSuffix(33, 2))], DType.F32,
                (plan, s) => FinishAll(plan, s, first / plan.TileSize * plan.TileSize));
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void NarrowAttention_EveryLength_GivesTheBitsOfTheDefinition(string deviceName)
    {
        // One position behind a tile, a split, a block; tiles and chunks that are full, and not.
        int[] lengths = [1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 511, 512, 513, 577, 641, 1025];
        AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 1, [.. lengths.Select(length => new OwnSuffix(length))], DType.F32,
            (plan, s) => FinishAll(plan, s, 0));
        AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 1, [new SharedPrefix(512, [.. lengths[..10].Select(length => new OwnSuffix(length))])], DType.F32,
            (plan, s) => FinishAll(plan, s, 512));
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void NarrowAttention_WindowAndSoftCap_GiveTheBitsOfTheDefinition(string deviceName)
    {
        SharedPart[] forest = [new SharedPrefix(656, new OwnSuffix(3), new OwnSuffix(120, 5))];
        foreach ((int window, float softCap) in ((int, float)[])[(1, 0), (40, 0), (200, 5), (600, 0), (0, 2)])
        {
            AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 3, forest, DType.F32, (plan, s) => FinishAll(plan, s, 640), window, softCap);
            AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 3, forest, DType.F32, (plan, s) => FinishAll(plan, s, 0), window, softCap);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void NarrowAttention_AnyBlockSize_GivesTheBitsOfTheDefinition(string deviceName)
    {
        foreach (int blockSize in (int[])[16, 32, 48, 128])
        {
            AssertSameBits(deviceName, new KvFormat(blockSize, 2, 128, DType.BF16), queryHeads: 4, [new SharedPrefix(384, new OwnSuffix(100), new OwnSuffix(200, 2))], DType.F32,
                (plan, s) => FinishAll(plan, s, 256));
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void FoldAttention_ManyRecords_GiveTheBitsOfTheDefinition(string deviceName) =>
        AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 2, [new OwnSuffix(35 * 512 + 7), new OwnSuffix(512 * 2, 9)], DType.F32,
            (plan, s) => FinishAll(plan, s, 0));

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void NarrowAttention_PlannedDecodeAndVerification_GiveTheBitsOfTheDefinition(string deviceName)
    {
        // Two levels and more than one split; blocks of 24 positions have wide items only.
        foreach (int blockSize in (int[])[16, 64, 24])
        {
            SharedPart[] forest =
            [
                new SharedPrefix(384, new SharedPrefix(576, new OwnSuffix(70), new OwnSuffix(3), new OwnSuffix(9, 4)), new OwnSuffix(5, 4), new OwnSuffix(600)),
                new SharedPrefix(192, new OwnSuffix(1), new OwnSuffix(2, 2)),
                new OwnSuffix(1100, 4),
            ];
            var format = new KvFormat(blockSize, 2, 64, DType.F16);
            using var shared = new SharedSequences(devices.Open(deviceName), format, queryHeads: 8, seed: 1, range: 2, forest);
            float[][] expected = shared.Attend(DType.F16, DType.F32);
            foreach ((AttentionSharing sharing, int slots) in ((AttentionSharing, int)[])
                [(AttentionSharing.Best, 1 << 16), (AttentionSharing.All, 1 << 16), (AttentionSharing.All, 100), (AttentionSharing.Off, 1 << 16), (AttentionSharing.Off, 0)])
            {
                var planner = new AttentionPlanner(shared.Cache.PlannerOptions() with { Sharing = sharing, MaxSlots = slots });
                float[][] actual = shared.Attend(DType.F16, DType.F32, planner);
                for (int s = 0; s < expected.Length; s++) Close.AssertSameBits(expected[s], actual[s]);
            }
        }
    }

    /// <summary>Shares the positions up to some multiple of the tile, from there on each sequence has narrow items.</summary>
    private static void FinishAll(HandMadePlan plan, int sequences, int from)
    {
        HandMadePlan.State state = from == 0 ? HandMadePlan.State.Start : plan.Walk(0, sequences, HandMadePlan.State.Start, from);
        for (int s = 0; s < sequences; s++) plan.FinishNarrow(s, state);
    }

    private void AssertSameBits(
        string deviceName, KvFormat format, int queryHeads, SharedPart[] forest, DType result, Action<HandMadePlan, int> runs, int window = 0, float softCap = 0)
    {
        Device device = devices.Open(deviceName);
        using var shared = new SharedSequences(device, format, queryHeads, seed: 1, range: 2, forest);
        float[][] expected = shared.Attend(format.DType, result, window, softCap);
        int[] order = [.. Enumerable.Range(0, shared.Sequences.Length).Reverse()];
        var plan = new HandMadePlan(device, format, queryHeads / format.KvHeads, shared.Sequences, order);
        runs(plan, order.Length);
        float[][] actual = plan.Run(device, window, made => shared.Attend(format.DType, result, made, softCap));
        for (int s = 0; s < expected.Length; s++) Close.AssertSameBits(expected[s], actual[s]);
    }
}
