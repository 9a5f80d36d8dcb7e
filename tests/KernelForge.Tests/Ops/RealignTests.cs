namespace KernelForge.Tests;

/// <summary>Realign against its definition on the host, where every move reads what was there before: raw bits, all layers, nothing else touched.</summary>
public sealed class RealignTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Blocks = 6;

    public static TheoryData<string> All => Devices.All;

    [DeviceTheory, MemberData(nameof(All))]
    public void Realign_RandomMoves_AreThoseOfTheHost(string deviceName)
    {
        var random = new Random(5);
        foreach (DType type in Devices.FloatTypes(deviceName))
            foreach (int headDim in (int[])[18, 64, 128])
                foreach (int blockSize in (int[])[4, 16])
                    AssertMoved(deviceName, new KvFormat(blockSize, random.Next(1, 4), headDim, type), random.Next(1, 4), RandomGroups(random, Blocks * blockSize));
    }

    /// <summary>Moves in chunks and across blocks, each by 1 to 9 slots to the left: every destination but the first few is the source of an earlier move.</summary>
    [DeviceTheory, MemberData(nameof(All))]
    public void Realign_ClosingUpInPlace_ReadsBeforeItWrites(string deviceName)
    {
        foreach (DType type in Devices.FloatTypes(deviceName))
            foreach (int headDim in (int[])[18, 64])
                foreach (int shift in (int[])[1, 3, 9])
                    AssertMoved(deviceName, new KvFormat(4, 1, headDim, type), 1, [.. StartsAndLengths(shift)], blocks: 4 * 26 * 40 / 4);

        // Each group has slots of its own.
        static IEnumerable<KvMove[]> StartsAndLengths(int shift)
        {
            int room = 0;
            for (int start = 0; start < 4; start++)
                for (int length = 1; length <= 26; length++)
                {
                    int first = room + start;
                    yield return [.. Enumerable.Range(first, length).Select(slot => new KvMove(slot + shift, slot))];
                    room += 40;
                }
        }
    }

    /// <summary>The accepted path of a tree: nodes in ascending order, some of which are in their place already.</summary>
    [DeviceTheory, MemberData(nameof(All))]
    public void Realign_AcceptedPaths_CloseUp(string deviceName)
    {
        var random = new Random(9);
        DType type = Devices.FloatTypes(deviceName)[^1];
        for (int round = 0; round < 8; round++)
        {
            KvMove[][] groups = [.. Enumerable.Range(0, 3).Select(group =>
            {
                int[] path = [.. Enumerable.Range(32 * group, 32).Where(_ => random.Next(3) > 0)];
                return path.Select((slot, i) => new KvMove(slot, 32 * group + i)).ToArray();
            })];
            AssertMoved(deviceName, new KvFormat(16, 2, 64, type), 2, groups);
        }
    }

    [DeviceTheory, MemberData(nameof(All))]
    public void Realign_AnyNumberOfLayers_MovesInAll(string deviceName)
    {
        foreach (int layers in (int[])[1, 2, 127, 128, 129, 130])
            AssertMoved(deviceName, new KvFormat(4, 1, 8, Devices.FloatTypes(deviceName)[0]), layers, [[new(5, 2)], [], [new(9, 9), new(17, 12)]]);
    }

    [DeviceTheory, MemberData(nameof(All))]
    public void Realign_NothingToMove_LeavesAllAsItIs(string deviceName)
    {
        var format = new KvFormat(4, 2, 64, Devices.FloatTypes(deviceName)[0]);
        AssertMoved(deviceName, format, 1, [[], [], []]);
        AssertMoved(deviceName, format, 1, [[new(3, 3)], [new(7, 7), new(8, 8)]]);
        AssertMoved(deviceName, format, 0, [[new(3, 4)]]);
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCpus), MemberType = typeof(Devices))]
    public void Realign_SlotOutsideOfTheCache_SaysWhich(string deviceName)
    {
        var error = Assert.Throws<ArgumentException>(() => AssertMoved(deviceName, new KvFormat(4, 1, 8, DType.F32), 1, [[new(0, 24)]]));
        Assert.Contains("Destination = 24", error.Message);
        Assert.Contains("24 slots", error.Message);
    }

    [DeviceTheory, MemberData(nameof(All))]
    public void Realign_LayersOfTwoShapes_SaysWhatItTakes(string deviceName)
    {
        Device device = devices.Open(deviceName);
        var format = new KvFormat(4, 1, 8, DType.F16);
        using GuardedMatrix small = new(device, DType.F16, format.RowsPerBlock, 8), large = new(device, DType.F16, 2 * format.RowsPerBlock, 8);
        using DeviceBuffer ints = device.Upload<int>([0, 1]);
        KvLayer[] layers = [new(small, format), new(large, format)];
        var error = Assert.Throws<ArgumentException>(() => device.Operators.Realign(layers, ints.AsSpan<int>().As<KvMove>(), ints.AsSpan<int>()));
        Assert.Contains("expected all alike", error.Message);
    }

    private void AssertMoved(string deviceName, KvFormat format, int layers, KvMove[][] groups, int blocks = Blocks)
    {
        Device device = devices.Open(deviceName);
        int rows = blocks * format.RowsPerBlock;
        using var memory = new GuardedMatrix(device, format.DType, Math.Max(1, layers) * rows, format.HeadDim, Numbers.Uniform(3, Math.Max(1, layers) * rows * format.HeadDim));
        float[] before = memory.Get();
        KvLayer[] caches = [.. Enumerable.Range(0, layers).Select(layer => new KvLayer(memory.Matrix.SliceRows(layer * rows, rows), format))];
        Realign(device, caches, groups);

        float[] expected = [.. before];
        for (int layer = 0; layer < layers; layer++)
            foreach (KvMove move in groups.SelectMany(group => group))
                for (int head = 0; head < format.KvHeads; head++)
                {
                    CopyRow(layer * rows, caches[layer].KeyRow(move.Source / format.BlockSize, head), caches[layer].KeyRow(move.Destination / format.BlockSize, head), move);
                    CopyRow(layer * rows, caches[layer].ValueRow(move.Source / format.BlockSize, head), caches[layer].ValueRow(move.Destination / format.BlockSize, head), move);
                }
        Close.AssertSameBits(expected, memory.Get());
        memory.AssertUntouchedAround();

        void CopyRow(int layerRow, int sourceRow, int destinationRow, KvMove move)
        {
            int source = layerRow + sourceRow + move.Source % format.BlockSize, destination = layerRow + destinationRow + move.Destination % format.BlockSize;
            Array.Copy(before, source * format.HeadDim, expected, destination * format.HeadDim, format.HeadDim);
        }
    }

    private static void Realign(Device device, KvLayer[] layers, KvMove[][] groups)
    {
        KvMove[] moves = [.. groups.SelectMany(group => group)];
        int[] starts = [.. groups.Select((_, i) => groups[..i].Sum(group => group.Length)), moves.Length];
        using DeviceBuffer moveMemory = device.Allocate(DType.I32, Math.Max(1, 2 * moves.Length)), startMemory = device.Upload<int>(starts);
        DeviceSpan<KvMove> span = moveMemory.AsSpan<int>().Slice(0, 2 * moves.Length).As<KvMove>();
        span.CopyFrom(moves);
        device.Operators.Realign(layers, span, startMemory.AsSpan<int>());
    }

    /// <summary>Groups of 0 to 20 moves between slots all of which differ, and some moves that stay where they are.</summary>
    private static KvMove[][] RandomGroups(Random random, int slots)
    {
        var free = new Queue<int>(Enumerable.Range(0, slots).OrderBy(_ => random.Next()));
        List<KvMove[]> groups = [];
        while (free.Count > 4)
        {
            int count = Math.Min(random.Next(21), free.Count / 2);
            groups.Add([.. Enumerable.Range(0, count).Select(_ =>
            {
                int source = free.Dequeue();
                return new KvMove(source, random.Next(6) == 0 ? source : free.Dequeue());
            })]);
        }
        return [.. groups];
    }
}
