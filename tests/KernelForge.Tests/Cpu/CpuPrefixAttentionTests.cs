namespace KernelForge.Tests;

/// <summary>Attention over a dense prefix, and the merge of parts, in what only the CPU promises: mixed types, any head_dim, the bits of paged attention, of any thread and instruction set.</summary>
public sealed class CpuPrefixAttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string> All => Devices.AllCpus;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void PrefixAttention_MixedTypes_EqualsTheDefinition(string deviceName)
    {
        DType[] types = Devices.FloatTypes(deviceName);
        (int Prefix, int Tokens, int KvHeads, int Group, int HeadDim, float SoftCap)[] shapes =
            [(1, 1, 1, 1, 16, 0), (63, 5, 2, 2, 32, 0), (64, 3, 1, 4, 64, 10), (65, 9, 1, 3, 80, 0), (513, 2, 2, 1, 128, 0), (600, 70, 1, 4, 16, 30)];
        for (int i = 0; i < shapes.Length; i++)
        {
            DType keyType = types[i % types.Length], valueType = types[(i + 1) % types.Length], queryType = types[(i + 2) % types.Length];
            var (prefix, tokens, kvHeads, group, headDim, softCap) = shapes[i];
            using var part = new Part(devices.Open(deviceName), i, prefix, tokens, kvHeads, group, headDim, queryType, keyType, valueType);
            part.Attend(softCap);
            part.AssertDefinition(softCap, relativeError: 0);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void PrefixAttention_DenseAndPaged_GiveTheSameBits(string deviceName)
    {
        const int length = 700, headDim = 64, group = 4;
        DType type = Devices.FloatTypes(deviceName)[^1];
        Device device = devices.Open(deviceName);
        using var part = new Part(device, 3, length, tokens: 1, kvHeads: 1, group, headDim, type, type, type);
        part.Attend(softCap: 0);
        int[] table = [.. Enumerable.Range(0, 44)];
        using var cache = new PagedCache(device, new KvFormat(16, 1, headDim, type), group, table.Length);
        cache.Append(table, part.Keys.Get(), part.Values.Get());
        float[][] paged = cache.Attend(part.Queries.Get(), [new AttentionPart(length - 1, 1, table)], type, type);
        Close.AssertSameBits(paged[0], part.Out.Get());
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void MergeAttention_PartsOfTheKeys_GiveAttentionOverAll(string deviceName)
    {
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            foreach (int cut in (int[])[0, 1, 100, 130])
            {
                const int length = 130, tokens = 7, kvHeads = 2, group = 3, headDim = 40;
                using var whole = new Part(devices.Open(deviceName), 5, length, tokens, kvHeads, group, headDim, type, type, type);
                using var first = new Part(whole, 0, cut);
                using var second = new Part(whole, cut, length - cut);
                first.Attend(softCap: 0);
                second.Attend(softCap: 0);
                devices.Open(deviceName).Operators.MergeAttention(first.State, second.State, cut == 1 ? second.State : first.State);
                Part merged = cut == 1 ? second : first;
                merged.AssertDefinition(0, 2 * Close.UnitRoundoff(type), of: whole);
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void MergeAttention_NothingAndNothing_IsNothing(string deviceName)
    {
        DType type = Devices.FloatTypes(deviceName)[0];
        using var part = new Part(devices.Open(deviceName), 1, prefix: 0, tokens: 3, kvHeads: 1, group: 2, headDim: 16, type, type, type);
        part.Attend(softCap: 0);
        devices.Open(deviceName).Operators.MergeAttention(part.State, part.State, part.State);
        Assert.All(part.Out.Get(), value => Assert.Equal(0, value));
        Assert.All(part.Lse.Get(), value => Assert.Equal(float.NegativeInfinity, value));
    }

    [Fact]
    public void PrefixAttention_AnyThreadsAndInstructionSet_GivesTheSameBits()
    {
        (float[] Out, float[] Lse)? expected = null;
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using Part whole = new(device, 6, 560, tokens: 70, kvHeads: 2, group: 3, headDim: 48, DType.F32, DType.BF16, DType.F16);
            using Part first = new(whole, 0, 300), second = new(whole, 300, 260);
            first.Attend(softCap: 9);
            second.Attend(softCap: 9);
            device.Operators.MergeAttention(first.State, second.State, whole.State);
            expected ??= (whole.Out.Get(), whole.Lse.Get());
            Close.AssertSameBits(expected.Value.Out, whole.Out.Get());
            Close.AssertSameBits(expected.Value.Lse, whole.Lse.Get());
        }
    }

    /// <summary>Queries, a dense prefix of strided rows, and the state of their attention; all in guarded memory.</summary>
    private sealed class Part : IDisposable
    {
        private readonly Device _device;
        private readonly int _kvHeads, _group, _headDim;

        public Part(Device device, int seed, int prefix, int tokens, int kvHeads, int group, int headDim, DType queryType, DType keyType, DType valueType)
        {
            (_device, _kvHeads, _group, _headDim) = (device, kvHeads, group, headDim);
            int columns = kvHeads * headDim;
            Queries = new GuardedMatrix(device, queryType, tokens, columns * group, Numbers.Uniform(seed, tokens * columns * group, 2), gap: 8);
            Keys = new GuardedMatrix(device, keyType, prefix, columns, Numbers.Uniform(seed + 100, prefix * columns, 2), gap: 16);
            Values = new GuardedMatrix(device, valueType, prefix, columns, Numbers.Uniform(seed + 200, prefix * columns, 2), gap: 24);
            Out = new GuardedMatrix(device, queryType, tokens, columns * group, gap: 8);
            Lse = new GuardedMatrix(device, DType.F32, tokens, kvHeads * group, gap: 3);
        }

        /// <summary>The same queries over some of the keys.</summary>
        public Part(Part whole, int first, int count)
            : this(whole._device, 0, count, whole.Queries.Matrix.Rows, whole._kvHeads, whole._group, whole._headDim,
                whole.Queries.Matrix.DType, whole.Keys.Matrix.DType, whole.Values.Matrix.DType)
        {
            int columns = _kvHeads * _headDim;
            Queries.Set(whole.Queries.Get());
            Keys.Set(whole.Keys.Get().AsSpan(first * columns, count * columns));
            Values.Set(whole.Values.Get().AsSpan(first * columns, count * columns));
        }

        public GuardedMatrix Queries { get; }

        public GuardedMatrix Keys { get; }

        public GuardedMatrix Values { get; }

        public GuardedMatrix Out { get; }

        public GuardedMatrix Lse { get; }

        public AttentionState State => new(Out, Lse);

        private double Scale => 1 / MathF.Sqrt(_headDim);

        public void Attend(float softCap)
        {
            _device.Operators.PrefixAttention(Queries, Keys, Values, _kvHeads, (float)Scale, State, softCap);
            Out.AssertUntouchedAround();
            Lse.AssertUntouchedAround();
        }

        /// <summary>Holds output and lse to attention over the keys of a part, this one's if none is given.</summary>
        public void AssertDefinition(float softCap, double relativeError, Part? of = null)
        {
            of ??= this;
            float[] queries = Queries.Get(), keys = of.Keys.Get(), values = of.Values.Get(), actual = Out.Get(), lse = Lse.Get();
            int heads = _kvHeads * _group, prefix = of.Keys.Matrix.Rows, columns = _kvHeads * _headDim;
            for (int row = 0; row < lse.Length; row++)
            {
                int start = row % heads / _group * _headDim;
                float[] query = queries[(row * _headDim)..((row + 1) * _headDim)];
                (double[] expected, double[] magnitude, double logSum) = ReferenceAttention.ComputeWithSum(query,
                    j => keys[(j * columns + start)..(j * columns + start + _headDim)], j => values[(j * columns + start)..(j * columns + start + _headDim)],
                    prefix, Scale, softCap: softCap);
                double error = relativeError + ReferenceAttention.SoftCapError(softCap);
                Close.AssertEqual(expected, actual.AsSpan(row * _headDim, _headDim), i =>
                    Close.Bound(Out.Matrix.DType, expected[i], prefix + 4 * _headDim, magnitude[i]) + error * magnitude[i]);
                Close.AssertEqual([logSum], lse.AsSpan(row, 1), _ => Close.Bound(DType.F32, logSum, prefix + 4 * _headDim, 1 + Math.Abs(logSum)) + error);
            }
        }

        public void Dispose()
        {
            foreach (GuardedMatrix matrix in (GuardedMatrix[])[Queries, Keys, Values, Out, Lse]) matrix.Dispose();
        }
    }
}
