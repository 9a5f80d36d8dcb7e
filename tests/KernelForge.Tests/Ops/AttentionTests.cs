namespace KernelForge.Tests;

public sealed class AttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string, DType> AllTypes()
    {
        var data = new TheoryData<string, DType>();
        foreach (string device in Devices.Names)
            foreach (DType type in Devices.IsCuda(device) ? Devices.FloatTypes(device) : [DType.F32]) data.Add(device, type);
        return data;
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Attention_ManyShapes_EqualsTheDefinition(string deviceName)
    {
        (DType F32, DType F16, DType BF16) = (DType.F32, DType.F16, DType.BF16);
        (int Length, int QueryHeads, int KvHeads, int HeadDim, int BlockSize, DType Cache, DType Query, DType Result)[] onCpu =
        [
            (1, 1, 1, 16, 16, F32, F32, F32),
            (70, 4, 2, 32, 16, F16, F32, BF16),
            (65, 3, 1, 20, 4, BF16, F16, F32),
            (130, 2, 2, 128, 8, F32, BF16, F16),
            (67, 5, 1, 7, 16, F32, F32, F32),
            (66, 2, 1, 256, 32, F16, F16, F16),
            (64, 2, 1, 80, 16, BF16, BF16, BF16),
            (600, 2, 1, 16, 16, F32, F32, F32),
        ],
        onCuda =
        [
            (1, 1, 1, 16, 16, F16, F16, F16),
            (70, 4, 2, 32, 16, BF16, BF16, F32),
            (65, 3, 1, 20, 4, BF16, BF16, BF16),
            (130, 2, 2, 128, 8, F16, F16, F32),
            (67, 5, 1, 7, 16, F16, F16, F16),
            (66, 2, 1, 256, 32, F16, F16, F32),
            (40, 3, 1, 200, 5, BF16, BF16, BF16),
            (64, 2, 1, 80, 16, BF16, BF16, BF16),
            (600, 2, 1, 16, 16, F16, F16, F32),
        ];
        foreach ((int length, int queryHeads, int kvHeads, int headDim, int blockSize, DType cache, DType query, DType result) in Devices.IsCuda(deviceName) ? onCuda : onCpu)
        {
            var inputs = new AttentionInputs(length, length, queryHeads, kvHeads, headDim, range: 2);
            using var paged = new PagedSequences(devices.Open(deviceName), new KvFormat(blockSize, kvHeads, headDim, cache), queryHeads, 1, inputs);
            float[] actual = paged.Attend(query, result, (0, 0, length))[0];

            foreach (int position in (int[])[0, length / 2, length - 1])
            {
                for (int head = 0; head < queryHeads; head++)
                {
                    int start = (position * queryHeads + head) * headDim, kvHead = head / (queryHeads / kvHeads);
                    float[] q = [.. inputs.Queries[start..(start + headDim)].Select(v => Close.Round(v, query))];
                    (double[] expected, double[] magnitude) = ReferenceAttention.Compute(
                        q, j => paged.Key(0, kvHead, j), j => paged.Value(0, kvHead, j), position + 1, paged.Scale);
                    Close.AssertEqual(expected, actual.AsSpan(start, headDim), i =>
                        Close.Bound(result, expected[i], position + 1 + 4 * headDim, magnitude[i]) + WeightRounding(deviceName, query) * magnitude[i]);
                }
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void Attention_WindowAndSoftCap_EqualTheDefinition(string deviceName, DType type)
    {
        const int length = 580, first = 500; // beyond one split; query tokens on both sides of its end
        var inputs = new AttentionInputs(17, length, queryHeads: 2, kvHeads: 1, headDim: 16, range: 2);
        using var paged = new PagedSequences(devices.Open(deviceName), new KvFormat(16, 1, 16, type), queryHeads: 2, blockSeed: 1, inputs);
        foreach ((int window, float softCap) in ((int, float)[])[(1, 0), (2, 0), (63, 0), (64, 0), (65, 30), (128, 0), (511, 0), (512, 0), (513, 3), (580, 0), (9999, 0), (0, 1), (0, 50)])
        {
            float[] actual = paged.Attend(type, DType.F32, window, softCap, (0, first, length - first))[0];
            foreach (int position in (int[])[first, 511, 512, 513, 574, 575, 576, length - 1])
            {
                int start = (position - first) * 32, from = window == 0 ? 0 : Math.Max(0, position + 1 - window);
                float[] query = [.. inputs.Queries[(position * 32)..(position * 32 + 16)].Select(v => Close.Round(v, type))];
                (double[] expected, double[] magnitude) = ReferenceAttention.Compute(
                    query, j => paged.Key(0, 0, j), j => paged.Value(0, 0, j), position + 1, paged.Scale, from, softCap);
                double weights = WeightRounding(deviceName, type) + ReferenceAttention.SoftCapError(softCap);
                Close.AssertEqual(expected, actual.AsSpan(start, 16), i => Close.Bound(DType.F32, expected[i], position + 65, magnitude[i]) + weights * magnitude[i]);
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void Attention_AnyChunks_GiveTheBitsOfTheWholePrompt(string deviceName, DType type)
    {
        const int length = 540; // beyond one split; the last tile is partly filled
        var inputs = new AttentionInputs(7, length, queryHeads: 2, kvHeads: 1, headDim: 16, range: 4);
        using var paged = new PagedSequences(devices.Open(deviceName), new KvFormat(16, 1, 16, type), queryHeads: 2, blockSeed: 1, inputs);
        float[] whole = paged.Attend(type, DType.F32, (0, 0, length))[0];
        foreach (int chunk in (int[])[1, 2, 3, 4, 5, 6, 7, 8, 16, 128, 509])
        {
            int from = chunk < 7 ? 500 : 0; // around the end of the split only: the rest is the same step again
            for (int first = from; first < length; first += chunk)
            {
                int count = Math.Min(chunk, length - first);
                Close.AssertSameBits(whole.AsSpan(first * 32, count * 32), paged.Attend(type, DType.F32, (0, first, count))[0]);
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void Attention_AnyBatch_GivesTheBitsOfTheSequenceAlone(string deviceName, DType type)
    {
        var random = new Random(5);
        AttentionInputs[] inputs = [.. Enumerable.Range(0, 64).Select(i => new AttentionInputs(i, i == 9 ? 530 : random.Next(1, 90), 4, 2, 16, range: 3))];
        using var paged = new PagedSequences(devices.Open(deviceName), new KvFormat(16, 2, 16, type), queryHeads: 4, blockSeed: 2, inputs);
        (int Sequence, int First, int Count)[] parts = [.. inputs.Select((input, s) => Last(s, input.Length, random.Next(1, 40)))];
        float[][] alone = [.. parts.Select(part => paged.Attend(type, DType.F32, part)[0])];
        foreach (int size in (int[])[2, 17, 64])
        {
            int[] order = [.. Enumerable.Range(0, 64)];
            random.Shuffle(order);
            float[][] together = paged.Attend(type, DType.F32, [.. order[..size].Select(s => parts[s])]);
            for (int i = 0; i < size; i++) Close.AssertSameBits(alone[order[i]], together[i]);
        }

        static (int, int, int) Last(int sequence, int length, int count) => (sequence, Math.Max(0, length - count), Math.Min(length, count));
    }

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void Attention_AnyBlockSizeAndOrder_GivesTheSameBits(string deviceName, DType type)
    {
        AttentionInputs[] inputs = [new(1, 140, 2, 1, 24), new(2, 70, 2, 1, 24)];
        float[][]? expected = null;
        foreach ((int blockSize, int seed) in ((int, int)[])[(16, 1), (16, 2), (4, 3), (8, 4), (32, 5), (5, 6), (128, 7)])
        {
            using var paged = new PagedSequences(devices.Open(deviceName), new KvFormat(blockSize, 1, 24, type), queryHeads: 2, seed, inputs);
            float[][] actual = paged.Attend(type, DType.F32, (0, 100, 40), (1, 0, 70));
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

    [DeviceTheory]
    [MemberData(nameof(AllTypes))]
    public void Attention_HugeScores_DoNotOverflow(string deviceName, DType type)
    {
        var inputs = new AttentionInputs(8, 80, queryHeads: 1, kvHeads: 1, headDim: 16, range: 1e4f);
        using var paged = new PagedSequences(devices.Open(deviceName), new KvFormat(16, 1, 16, type), queryHeads: 1, blockSeed: 1, inputs);
        float[] actual = paged.Attend(type, DType.F32, (0, 0, 80))[0];
        float[] query = [.. inputs.Queries[(79 * 16)..].Select(v => Close.Round(v, type))];
        (double[] expected, double[] magnitude) = ReferenceAttention.Compute(query, j => paged.Key(0, 0, j), j => paged.Value(0, 0, j), 80, paged.Scale);
        Close.AssertEqual(expected, actual.AsSpan(79 * 16), i =>
            Close.Bound(DType.F32, expected[i], 80, magnitude[i]) + WeightRounding(deviceName, type) * magnitude[i]);
    }

    [DeviceTheory]
    [MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Attention_WhatCudaDoesNotTake_IsSaid(string deviceName)
    {
        AssertSays("F32[1, 16] given", DType.F32, DType.F32, headDim: 16);
        AssertSays("all must be F16 or all BF16", DType.F16, DType.BF16, headDim: 16);
        AssertSays("head_dim is 264", DType.F16, DType.F16, headDim: 264);
        AssertSays("scale is -1", DType.F16, DType.F16, headDim: 16, scale: -1);

        void AssertSays(string part, DType queryType, DType cacheType, int headDim, float scale = 1)
        {
            Device device = devices.Open(deviceName);
            var format = new KvFormat(4, 1, headDim, cacheType);
            using GuardedMatrix memory = new(device, cacheType, format.RowsPerBlock, headDim), queries = new(device, queryType, 1, headDim);
            using DeviceBuffer zeros = device.Upload<int>([0, 1, 0]);
            DeviceSpan<int> offsets = zeros.AsSpan<int>().Slice(0, 2), zero = zeros.AsSpan<int>().Slice(2, 1);
            var plan = new AttentionBatch(offsets, zero, offsets, zero);
            var error = Assert.Throws<ArgumentException>(() => device.Operators.Attention(queries, new KvLayer(memory, format), plan, scale, queries));
            Assert.Contains(part, error.Message);
        }
    }

    [Fact]
    public void Attention_BrokenPlans_SayWhatIsWrong()
    {
        Device device = devices.Open(Devices.CpuNames[0]);
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
            var plan = new AttentionBatch(o.AsSpan<int>(), c.AsSpan<int>(), b.AsSpan<int>(), t.AsSpan<int>());
            var error = Assert.Throws<ArgumentException>(() => device.Operators.Attention(queries, new KvLayer(memory, format), plan, 1, queries));
            Assert.Contains(part, error.Message);
        }
    }

    /// <summary>On CUDA the weights of the values are rounded to the 16-bit type; their sum is not.</summary>
    private static double WeightRounding(string deviceName, DType type) => Devices.IsCuda(deviceName) ? Close.UnitRoundoff(type) : 0;
}
