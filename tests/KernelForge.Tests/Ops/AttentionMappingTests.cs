namespace KernelForge.Tests;

/// <summary>
/// A token's attention has the same bits however it came about: a whole prompt, a chunk, a decode or a verification; alone or in any batch, in any order; with
/// any sharing, item sizes and parallelism of the plan. What it is held to is the prompt of its sequence alone, whole and without a plan.
/// </summary>
public sealed class AttentionMappingTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int BlockSize = 16, QueryHeads = 4, HeadDim = 16;

    /// <summary>Tokens of a step: verification of 1 .. 8, chunks.</summary>
    private static readonly int[] Widths = [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 16, 128, 509];

    public static TheoryData<string, int> Cases()
    {
        var data = new TheoryData<string, int>();
        foreach (string device in Devices.Names)
            foreach (int kvHeads in (int[])[1, 2]) data.Add(device, kvHeads);
        return data;
    }

    [DeviceTheory]
    [MemberData(nameof(Cases))]
    public void Attention_AnyStepAndMapping_GivesTheBitsOfTheWholePrompt(string deviceName, int kvHeads)
    {
        Device device = devices.Open(deviceName);
        var format = new KvFormat(BlockSize, kvHeads, HeadDim, Devices.FloatTypes(deviceName)[^1]);
        (int[][] tables, int[] lengths, int blocks) = Forest();
        using var cache = new PagedCache(device, format, QueryHeads, blocks);
        const int columns = QueryHeads * HeadDim;
        int elements = kvHeads * HeadDim;
        float[] keys = Numbers.Uniform(1, blocks * BlockSize * elements, 3), values = Numbers.Uniform(2, blocks * BlockSize * elements, 3);
        for (int block = 0; block < blocks; block++) cache.Append([block], Block(keys, block), Block(values, block));

        float[][] queries = [.. lengths.Select((length, s) => Numbers.Uniform(10 + s, length * columns, 3))];
        float[][] expected = [.. lengths.Select((length, s) => cache.Attend(queries[s], [new AttentionPart(0, length, tables[s])], format.DType, DType.F32)[0])];
        for (int seed = 0; seed < (Devices.IsCuda(deviceName) ? 16 : 60); seed++)
        {
            var random = new Random(seed);
            int[] order = [.. Enumerable.Range(0, lengths.Length)];
            random.Shuffle(order);
            order = order[..random.Next(1, order.Length + 1)];
            AttentionPart[] parts = [.. order.Select(s => Part(random, tables[s], lengths[s]))];
            float[] rows = [.. parts.SelectMany((part, i) => queries[order[i]].Skip(part.First * columns).Take(part.Count * columns))];
            float[][] actual = cache.Attend(rows, parts, format.DType, DType.F32, planner: Planner(random, cache.PlannerOptions()));
            for (int i = 0; i < parts.Length; i++)
                Close.AssertSameBits(expected[order[i]].AsSpan(parts[i].First * columns, parts[i].Count * columns), actual[i]);
        }

        float[] Block(float[] all, int block) => all[(block * BlockSize * elements)..((block + 1) * BlockSize * elements)];
    }

    /// <summary>Three levels whose ends lie around tiles and splits, and sequences that share nothing; every block holds something.</summary>
    private static (int[][] Tables, int[] Lengths, int Blocks) Forest()
    {
        int next = 0;
        int[] order = [.. Enumerable.Range(0, 300)];
        new Random(7).Shuffle(order);
        int[] first = Take(31), second = [.. first, .. Take(2)], third = [.. second, .. Take(9)]; // 496, 528, 672 positions
        int[][] tables = [[.. first, .. Take(3)], [.. second, .. Take(1)], [.. second, .. Take(4)], [.. third, .. Take(2)], [.. third, .. Take(1)], Take(5), Take(34)];
        int[] left = [3, 0, 15, 1, 8, 0, 2]; // free slots of the last block
        return (tables, [.. tables.Select((table, s) => table.Length * BlockSize - left[s])], order.Length);

        int[] Take(int count) => order[next..(next += count)];
    }

    /// <summary>Some of a sequence's tokens, half the time its last ones, as in a decode.</summary>
    private static AttentionPart Part(Random random, int[] table, int length)
    {
        int count = Math.Min(length, Widths[random.Next(Widths.Length)]);
        return new AttentionPart(random.Next(2) == 0 ? length - count : random.Next(length - count + 1), count, table);
    }

    private static AttentionPlanner Planner(Random random, AttentionPlannerOptions options)
    {
        AttentionTiling tiling = options.Tiling;
        options = options with
        {
            Sharing = Enum.GetValues<AttentionSharing>()[random.Next(4)],
            MaxSlots = random.Next(3) == 0 ? random.Next(200) : 1 << 16,
            MaxPasses = random.Next(3) == 0 ? random.Next(1, 4) : 8,
            Tiling = tiling with
            {
                WideRows = random.Next(3) switch { 0 => 16, 1 => 48, _ => tiling.WideRows },
                NarrowRows = random.Next(3) switch { 0 => 0, 1 => tiling.NarrowRows / 4, _ => tiling.NarrowRows },
                Processors = random.Next(3) switch { 0 => 1, 1 => 16, _ => 1000 },
            },
        };
        var planner = new AttentionPlanner(options);
        if (random.Next(3) == 0) planner.Forced = _ => random.Next(2) == 0;
        return planner;
    }
}
