namespace KernelForge.Tests;

/// <summary>VerifyDrafts and AcceptedMoves against <see cref="DraftTrees"/>, every int of the result and the bytes around it.</summary>
public sealed class VerifyDraftsTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Unwritten = -1;

    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string> AllCpus => Devices.AllCpus;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void VerifyDrafts_RandomTrees_EqualsTheDefinition(string deviceName)
    {
        // Around a warp, around the threads of a block, and more than that; no drafts, one, and more than lanes.
        (int Rows, int MostDrafts, int BlockSize)[] cases =
            [(1, 0, 1), (1, 1, 16), (1, 63, 3), (2, 40, 17), (31, 5, 16), (32, 8, 1), (33, 63, 7), (200, 16, 16), (1023, 4, 16), (1024, 3, 32), (1025, 4, 5), (1500, 9, 16)];
        foreach ((int rows, int mostDrafts, int blockSize) in cases) AssertVerifies(deviceName, DraftTrees.Random(rows + mostDrafts, rows, mostDrafts), blockSize);
        for (int seed = 0; seed < 20; seed++) AssertVerifies(deviceName, DraftTrees.Random(seed, 1 + seed % 7, 63), 1 + seed);
    }

    /// <summary>Seven drafts, all right, and an end at each of the eight tokens in turn: a stop token, the limit, both, or a stop token that counts from the next one on.</summary>
    [DeviceTheory]
    [MemberData(nameof(All))]
    public void VerifyDrafts_EndAtEveryPosition_GainsUpToIt(string deviceName)
    {
        const int length = 100, never = 1000;
        int[] chosen = [10, 11, 12, 13, 14, 15, 16, 17], parents = [0, 0, 1, 2, 3, 4, 5, 6], tokens = [10, .. chosen[..7]];
        var trees = new DraftTrees();
        for (int end = 0; end < chosen.Length; end++)
        {
            trees.Add(length, parents, tokens, chosen, [chosen[end]], never);
            trees.Add(length, parents, tokens, chosen, [], length + end + 1);
            trees.Add(length, parents, tokens, chosen, [7, chosen[end], chosen[end]], length + end + 1);
            trees.Add(length, parents, tokens, chosen, chosen, never, minLength: length + end);
        }

        int[] result = AssertVerifies(deviceName, trees, blockSize: 16);
        VerifiedDraftsOffsets offsets = new(result, trees.Rows.Length);
        for (int i = 0; i < trees.Rows.Length; i++) Assert.Equal(1 + i / 4, offsets.Gained(i));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void VerifyDrafts_AChildThatIsNoChildOfThePath_IsNotTaken(string deviceName)
    {
        // Node 0 chooses 5: nodes 2 and 3 are equal children, the first is taken. It chooses 6: node 4 hangs below node 3, so the path ends with it not taken.
        var trees = new DraftTrees();
        trees.Add(9, [0, 0, 0, 0, 3], [5, 4, 5, 5, 6], [5, 6, 6, 6, 8], [], maxLength: 99);
        int[] result = AssertVerifies(deviceName, trees, blockSize: 16);
        Assert.Equal([1, 0, 2, 11, 1, (int)DraftEnd.None, 0, 5, 6, Unwritten, Unwritten, Unwritten, 0, 2, Unwritten, Unwritten, Unwritten], result);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public unsafe void AcceptedMoves_RandomTrees_MoveAcceptedNodesToTheirPlaces(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach ((int rows, int mostDrafts) in ((int, int)[])[(1, 0), (1, 63), (7, 40), (8, 31), (9, 32), (300, 5)])
        {
            DraftTrees trees = DraftTrees.Random(rows, rows, mostDrafts);
            int[] slots = [.. Enumerable.Range(0, trees.Nodes).Select(node => 7 * node + 3)], targets = [.. Enumerable.Range(0, trees.Nodes).Select(node => 5 * node + 1)];
            using var result = new DraftMemory(device, trees);
            result.Verify(device.Operators, 16);
            using DeviceBuffer slotsMemory = device.Upload(slots), targetsMemory = device.Upload(targets);
            using var moves = new GuardedMatrix(device, DType.I32, 1, 2 * trees.Nodes);
            var span = moves.Span<KvMove>().Slice(0, trees.Nodes);
            device.Operators.AcceptedMoves(result.Rows, result.Verified, slotsMemory.AsSpan<int>(), targetsMemory.AsSpan<int>(), span);
            Assert.Equal(trees.Moves(slots, targets), span.ToArray());
            moves.AssertUntouchedAround();
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCpus))]
    public void VerifyDrafts_BadRows_SaysWhatIsWrong(string deviceName)
    {
        Device device = devices.Open(deviceName);
        DraftTrees trees = DraftTrees.Random(1, 3, 4);
        DraftRow row = trees.Rows[1];
        (DraftRow Row, string Message)[] cases =
        [
            (row with { FirstNode = row.FirstNode + 1 }, $"expected node {row.FirstNode} to be its first"), (row with { Nodes = 0 }, $"there are {trees.Nodes} nodes"),
            (row with { Nodes = trees.Nodes }, $"there are {trees.Nodes} nodes"), (row with { Stops = 99 }, "stop tokens"), (row with { FirstStop = -1 }, "stop tokens"),
            (row with { Stops = -1 }, "stop tokens"), (row with { Length = row.MaxLength }, "which has ended"),
        ];
        foreach ((DraftRow bad, string message) in cases)
        {
            using var memory = new DraftMemory(device, trees);
            memory.Rows.Slice(1, 1).CopyFrom([bad]);
            Assert.Contains(message, Assert.Throws<ArgumentException>(() => memory.Verify(device.Operators, 16)).Message);
        }

        using var good = new DraftMemory(device, trees);
        Assert.Contains("block size is 0", Assert.Throws<ArgumentException>(() => good.Verify(device.Operators, 0)).Message);
    }

    /// <summary>Verifies, compares with the definition and returns the result.</summary>
    private int[] AssertVerifies(string deviceName, DraftTrees trees, int blockSize)
    {
        Device device = devices.Open(deviceName);
        using var memory = new DraftMemory(device, trees);
        memory.Verify(device.Operators, blockSize);
        int[] result = memory.Verified.Memory.ToArray();
        Assert.Equal(trees.Verify(blockSize, Unwritten), result);
        memory.AssertUntouchedAround();
        return result;
    }

    /// <summary>Tokens that each sequence gained, from the memory of a result.</summary>
    private readonly record struct VerifiedDraftsOffsets(int[] Memory, int Rows)
    {
        public int Gained(int row) => Memory[1 + row + 1] - Memory[1 + row];
    }
}
