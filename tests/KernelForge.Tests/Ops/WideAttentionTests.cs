namespace KernelForge.Tests;

/// <summary>The wide kernel over plans made by hand: any cut, any sharing, the bits of attention without a plan.</summary>
public sealed class WideAttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly DType[] HalfTypes = [DType.F16, DType.BF16];

    public static TheoryData<string, DType, int> HeadDims => Cases.Of(Devices.WideNames, HalfTypes, [16, 64, 72, 96, 128, 200, 256]);

    public static TheoryData<string, int, int> Heads => Cases.Of(Devices.WideNames, (int[])[1, 3, 4, 8], [1, 2]);

    public static TheoryData<string> AllCuda => [.. Devices.WideNames];

    [DeviceTheory]
    [MemberData(nameof(HeadDims))]
    public void WideAttention_AnyHeadDim_GivesTheBitsOfTheDefinition(string deviceName, DType type, int headDim)
    {
        // Walks to the middle of the second split, each sequence from there.
        AssertSameBits(deviceName, new KvFormat(16, 1, headDim, type), queryHeads: 2, Prefix(704, 3), DType.F32,
            (plan, sequences) => Share(plan, sequences, 640));
    }

    [DeviceTheory]
    [MemberData(nameof(Heads))]
    public void WideAttention_AnyHeads_GiveTheBitsOfTheDefinition(string deviceName, int group, int kvHeads)
    {
        // The rows of a shared item are no multiple of 16, and more than an item takes.
        AssertSameBits(deviceName, new KvFormat(16, kvHeads, 64, DType.F16), group * kvHeads, Prefix(272, 7), DType.F16,
            (plan, sequences) => Share(plan, sequences, 256), rowsOfItem: 50);
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void WideAttention_CarryAtEveryTile_GivesTheBitsOfTheDefinition(string deviceName)
    {
        foreach (int first in Enumerable.Range(1, 11).Select(i => i * 64))
        {
            AssertSameBits(deviceName, new KvFormat(32, 1, 64, DType.BF16), queryHeads: 2, Prefix(704, 2), DType.F32, (plan, sequences) =>
            {
                // Goes on from the cut to the next tile, then to the end.
                int cut = first / plan.TileSize * plan.TileSize, next = Math.Min(cut + plan.TileSize, 704 / plan.TileSize * plan.TileSize);
                HandMadePlan.State state = plan.Walk(0, sequences, HandMadePlan.State.Start, Math.Max(cut, plan.TileSize));
                if (next > state.Position) state = plan.Walk(0, sequences, state, next);
                for (int s = 0; s < sequences; s++) plan.Finish(s, state);
            });
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void WideAttention_SplitsOfTheirOwn_AreFoldedToTheBitsOfTheDefinition(string deviceName)
    {
        AssertSameBits(deviceName, new KvFormat(16, 2, 96, DType.F16), queryHeads: 4, Prefix(1680, 3), DType.F16, (plan, sequences) =>
        {
            HandMadePlan.State total = plan.Walk(0, sequences, HandMadePlan.State.Start, 512), all = plan.Singles(0, sequences, total, 1536);
            HandMadePlan.State open = plan.Walk(0, sequences - 1, all, 1664);
            for (int s = 0; s < sequences; s++) plan.Finish(s, s < sequences - 1 ? open : all);
        });
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void WideAttention_WindowAndSoftCap_GiveTheBitsOfTheDefinition(string deviceName)
    {
        foreach ((int window, float softCap) in ((int, float)[])[(1, 0), (40, 0), (200, 5), (600, 0), (0, 2)])
        {
            AssertSameBits(deviceName, new KvFormat(16, 1, 64, DType.F16), queryHeads: 3, Prefix(656, 3), DType.F32,
                (plan, sequences) => Share(plan, sequences, 640), window: window, softCap: softCap);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void WideAttention_AnyBlockSize_GivesTheBitsOfTheDefinition(string deviceName)
    {
        foreach (int blockSize in (int[])[5, 8, 16, 32, 48, 64, 128])
        {
            AssertSameBits(deviceName, new KvFormat(blockSize, 1, 64, DType.BF16), queryHeads: 2, Prefix(3 * 640, 2), DType.F32,
                (plan, sequences) => Share(plan, sequences, 1920 / plan.TileSize * plan.TileSize));
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void WideAttention_PrefillOfManyRows_GivesTheBitsOfTheDefinition(string deviceName)
    {
        // 150 tokens of 4 heads behind a context: five row tiles, the last of which is short.
        AssertSameBits(deviceName, new KvFormat(16, 1, 128, DType.BF16), queryHeads: 4, [new OwnSuffix(230, 150), new OwnSuffix(90, 90)], DType.BF16,
            (plan, sequences) => { for (int s = 0; s < sequences; s++) plan.Finish(s, HandMadePlan.State.Start); });
    }

    /// <summary>Shares the positions up to some multiple of the tile, each sequence goes on alone.</summary>
    private static void Share(HandMadePlan plan, int sequences, int to)
    {
        HandMadePlan.State state = plan.Walk(0, sequences, HandMadePlan.State.Start, to);
        for (int s = 0; s < sequences; s++) plan.Finish(s, state);
    }

    /// <summary>Sequences of all kinds behind one prefix: decode, chunks, a chunk of several items.</summary>
    private static SharedPart[] Prefix(int length, int sequences) =>
        [new SharedPrefix(length, [.. Enumerable.Range(0, sequences).Select(s => new OwnSuffix(5 + 31 * s % 90, 1 + 4 * s % 5))])];

    private void AssertSameBits(
        string deviceName, KvFormat format, int queryHeads, SharedPart[] forest, DType result, Action<HandMadePlan, int> runs, int rowsOfItem = 0, int window = 0,
        float softCap = 0)
    {
        Device device = devices.Open(deviceName);
        using var shared = new SharedSequences(device, format, queryHeads, seed: 1, range: 2, forest);
        float[][] expected = shared.Attend(format.DType, result, window, softCap);
        int[] order = [.. Enumerable.Range(0, shared.Sequences.Length).Reverse()];
        var plan = new HandMadePlan(device, format, queryHeads / format.KvHeads, shared.Sequences, order, rowsOfItem);
        runs(plan, order.Length);
        float[][] actual = plan.Run(device, window, made => shared.Attend(format.DType, result, made, softCap));
        for (int s = 0; s < expected.Length; s++) Close.AssertSameBits(expected[s], actual[s]);
    }
}
