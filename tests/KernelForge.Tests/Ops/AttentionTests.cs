namespace KernelForge.Tests;

public sealed class AttentionTests
{
    public static TheoryData<string> All => Devices.All;

    [Theory]
    [MemberData(nameof(All))]
    public void Attention_ManyShapes_EqualsTheDefinition(string deviceName)
    {
        (int Length, int QueryHeads, int KvHeads, int HeadDim, int BlockSize, DType Cache, DType Query, DType Result)[] cases =
        [
            (1, 1, 1, 16, 16, DType.F32, DType.F32, DType.F32),
            (70, 4, 2, 32, 16, DType.F16, DType.F32, DType.BF16),
            (65, 3, 1, 20, 4, DType.BF16, DType.F16, DType.F32),
            (130, 2, 2, 128, 8, DType.F32, DType.BF16, DType.F16),
            (67, 5, 1, 7, 16, DType.F32, DType.F32, DType.F32),
            (66, 2, 1, 256, 32, DType.F16, DType.F16, DType.F16),
            (64, 2, 1, 80, 16, DType.BF16, DType.BF16, DType.BF16),
            (600, 2, 1, 16, 16, DType.F32, DType.F32, DType.F32),
        ];
        foreach ((int length, int queryHeads, int kvHeads, int headDim, int blockSize, DType cache, DType query, DType result) in cases)
        {
            var inputs = new AttentionInputs(length, length, queryHeads, kvHeads, headDim, range: 2);
            using var paged = new PagedSequences(Devices.Open(deviceName), new KvFormat(blockSize, kvHeads, headDim, cache), queryHeads, 1, inputs);
            float[] actual = paged.Attend(query, result, (0, 0, length))[0];

            foreach (int position in (int[])[0, length / 2, length - 1])
            {
                for (int head = 0; head < queryHeads; head++)
                {
                    int start = (position * queryHeads + head) * headDim, kvHead = head / (queryHeads / kvHeads);
                    float[] q = [.. inputs.Queries[start..(start + headDim)].Select(v => Close.Round(v, query))];
                    (double[] expected, double[] magnitude) = ReferenceAttention.Compute(
                        q, j => paged.Key(0, kvHead, j), j => paged.Value(0, kvHead, j), position + 1, paged.Scale);
                    Close.AssertEqual(expected, actual.AsSpan(start, headDim), i => Close.Bound(result, expected[i], position + 1 + 4 * headDim, magnitude[i]));
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Attention_AnyChunks_GiveTheBitsOfTheWholePrompt(string deviceName)
    {
        const int length = 540; // beyond one split; the last tile is partly filled
        var inputs = new AttentionInputs(7, length, queryHeads: 2, kvHeads: 1, headDim: 16, range: 4);
        using var paged = new PagedSequences(Devices.Open(deviceName), new KvFormat(16, 1, 16, DType.F32), queryHeads: 2, blockSeed: 1, inputs);
        float[] whole = paged.Attend(DType.F32, DType.F32, (0, 0, length))[0];
        foreach (int chunk in (int[])[1, 7, 16, 128, 509])
        {
            int from = chunk == 1 ? 500 : 0; // single steps around the end of the split only: the rest is the same step again
            for (int first = from; first < length; first += chunk)
            {
                int count = Math.Min(chunk, length - first);
                Close.AssertSameBits(whole.AsSpan(first * 32, count * 32), paged.Attend(DType.F32, DType.F32, (0, first, count))[0]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Attention_AnyBatch_GivesTheBitsOfTheSequenceAlone(string deviceName)
    {
        var random = new Random(5);
        AttentionInputs[] inputs = [.. Enumerable.Range(0, 64).Select(i => new AttentionInputs(i, i == 9 ? 530 : random.Next(1, 90), 4, 2, 16, range: 3))];
        using var paged = new PagedSequences(Devices.Open(deviceName), new KvFormat(16, 2, 16, DType.F16), queryHeads: 4, blockSeed: 2, inputs);
        (int Sequence, int First, int Count)[] parts = [.. inputs.Select((input, s) => Last(s, input.Length, random.Next(1, 40)))];
        float[][] alone = [.. parts.Select(part => paged.Attend(DType.F32, DType.F32, part)[0])];
        foreach (int size in (int[])[2, 17, 64])
        {
            int[] order = [.. Enumerable.Range(0, 64)];
            random.Shuffle(order);
            float[][] together = paged.Attend(DType.F32, DType.F32, [.. order[..size].Select(s => parts[s])]);
            for (int i = 0; i < size; i++) Close.AssertSameBits(alone[order[i]], together[i]);
        }

        static (int, int, int) Last(int sequence, int length, int count) => (sequence, Math.Max(0, length - count), Math.Min(length, count));
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Attention_AnyBlockSizeAndOrder_GivesTheSameBits(string deviceName)
    {
        AttentionInputs[] inputs = [new(1, 140, 2, 1, 24), new(2, 70, 2, 1, 24)];
        float[][]? expected = null;
        foreach ((int blockSize, int seed) in ((int, int)[])[(16, 1), (16, 2), (4, 3), (8, 4), (32, 5), (5, 6), (128, 7)])
        {
            using var paged = new PagedSequences(Devices.Open(deviceName), new KvFormat(blockSize, 1, 24, DType.BF16), queryHeads: 2, seed, inputs);
            float[][] actual = paged.Attend(DType.F32, DType.F32, (0, 100, 40), (1, 0, 70));
            expected ??= actual;
            Close.AssertSameBits(expected[0], actual[0]);
            Close.AssertSameBits(expected[1], actual[1]);
        }
    }

    [Fact]
    public void Attention_AnyThreadsAndInstructionSet_GivesTheSameBits()
    {
        AttentionInputs[] inputs = [new(3, 560, 6, 2, 80, range: 2), new(4, 200, 6, 2, 80, range: 2)];
        float[][]? expected = null;
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using var paged = new PagedSequences(device, new KvFormat(16, 2, 80, DType.F32), queryHeads: 6, blockSeed: 1, inputs);
            float[][] actual = paged.Attend(DType.BF16, DType.F32, (0, 500, 60), (1, 170, 30));
            expected ??= actual;
            for (int s = 0; s < inputs.Length; s++) Close.AssertSameBits(expected[s], actual[s]);
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Attention_HugeScores_DoNotOverflow(string deviceName)
    {
        var inputs = new AttentionInputs(8, 80, queryHeads: 1, kvHeads: 1, headDim: 16, range: 1e4f);
        using var paged = new PagedSequences(Devices.Open(deviceName), new KvFormat(16, 1, 16, DType.F32), queryHeads: 1, blockSeed: 1, inputs);
        float[] actual = paged.Attend(DType.F32, DType.F32, (0, 0, 80))[0];
        (double[] expected, double[] magnitude) = ReferenceAttention.Compute(
            inputs.Queries.AsSpan(79 * 16, 16), j => paged.Key(0, 0, j), j => paged.Value(0, 0, j), 80, paged.Scale);
        Close.AssertEqual(expected, actual.AsSpan(79 * 16), i => Close.Bound(DType.F32, expected[i], 80, magnitude[i]));
    }

    [Fact]
    public void Attention_BrokenPlans_SayWhatIsWrong()
    {
        Device device = Devices.Open(Devices.Names[0]);
        var format = new KvFormat(4, 1, 16, DType.F32);
        using var memory = new GuardedMatrix(device, DType.F32, 3 * format.RowsPerBlock, 16);
        using var queries = new GuardedMatrix(device, DType.F32, 5, 16);
        AssertMessage("expected 0 to 5", [0, 4], [0], [0, 2], [0, 1]);
        AssertMessage("1 blocks of 4 for 0 + 5", [0, 5], [0], [0, 1], [0, 1]);
        AssertMessage("2 blocks of 4 for 4 + 5", [0, 5], [4], [0, 2], [0, 1]);
        AssertMessage("block 3", [0, 5], [0], [0, 2], [0, 3]);
        AssertMessage("-1 query tokens", [0, 6, 5], [0, 0], [0, 2, 2], [0, 1]);
        AssertMessage("context of -1", [0, 5], [-1], [0, 2], [0, 1]);

        void AssertMessage(string part, int[] offsets, int[] contexts, int[] blockOffsets, int[] tables)
        {
            using DeviceBuffer o = device.Upload<int>(offsets), c = device.Upload<int>(contexts), b = device.Upload<int>(blockOffsets), t = device.Upload<int>(tables);
            var plan = new AttentionPlan(o.AsSpan<int>(), c.AsSpan<int>(), b.AsSpan<int>(), t.AsSpan<int>());
            var error = Assert.Throws<ArgumentException>(() => device.Operators.Attention(queries, new KvLayer(memory, format), plan, 1, queries));
            Assert.Contains(part, error.Message);
        }
    }
}
