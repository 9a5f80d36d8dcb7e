namespace KernelForge.Tests;

/// <summary>Attention over a dense prefix, and the merge of two parts, against the definition.</summary>
public sealed class PrefixAttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string> All => [.. Devices.CpuNames, .. Devices.WideNames];

    public static TheoryData<string> AllCuda => [.. Devices.WideNames];

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void PrefixAttention_ManyShapes_EqualsTheDefinition(string deviceName)
    {
        (int Tokens, int Prefix, int Group, int KvHeads, int HeadDim, DType Result)[] shapes =
        [
            (1, 1, 1, 1, 64, DType.F32),
            (3, 63, 3, 2, 64, DType.F16),
            (33, 129, 4, 1, 128, DType.F32),
            (2, 600, 8, 1, 96, DType.F32),
            (70, 70, 1, 2, 256, DType.F16),
            (5, 1030, 2, 1, 80, DType.F32),
        ];
        foreach ((int tokens, int prefix, int group, int kvHeads, int headDim, DType resultType) in shapes)
        {
            using var dense = new DensePrefix(devices.Open(deviceName), DType.F16, tokens, prefix, group, kvHeads, headDim);
            (float[] actual, float[] lse) = dense.Attend(resultType);
            foreach (int row in (int[])[0, tokens * group * kvHeads / 2, tokens * group * kvHeads - 1]) dense.AssertClose(deviceName, resultType, row, actual, lse);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void PrefixAttention_SoftCap_EqualsTheDefinition(string deviceName)
    {
        using var dense = new DensePrefix(devices.Open(deviceName), DType.BF16, tokens: 2, prefix: 200, group: 2, kvHeads: 1, headDim: 64, softCap: 1.5f);
        (float[] actual, float[] lse) = dense.Attend(DType.F32);
        for (int row = 0; row < 4; row++) dense.AssertClose(deviceName, DType.F32, row, actual, lse);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void PrefixAttention_AnyBatch_GivesTheBitsOfTheTokenAlone(string deviceName)
    {
        using var dense = new DensePrefix(devices.Open(deviceName), DType.F16, tokens: 50, prefix: 600, group: 3, kvHeads: 2, headDim: 64);
        (float[] together, float[] lse) = dense.Attend(DType.F32);
        foreach (int token in (int[])[0, 21, 42, 49])
        {
            (float[] alone, float[] lseAlone) = dense.Attend(DType.F32, firstToken: token, tokens: 1);
            Close.AssertSameBits(together.AsSpan(token * alone.Length, alone.Length), alone);
            Close.AssertSameBits(lse.AsSpan(token * lseAlone.Length, lseAlone.Length), lseAlone);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void PrefixAttention_NoPrefix_IsZeroAndWeighsNothing(string deviceName)
    {
        using var dense = new DensePrefix(devices.Open(deviceName), DType.F16, tokens: 3, prefix: 40, group: 2, kvHeads: 1, headDim: 64);
        (float[] actual, float[] lse) = dense.Attend(DType.F32, first: 0, end: 0);
        Assert.All(actual, value => Assert.Equal(0, value));
        Assert.All(lse, value => Assert.Equal(float.NegativeInfinity, value));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void MergeAttention_PartsOfAPrefix_EqualTheWhole(string deviceName)
    {
        using var dense = new DensePrefix(devices.Open(deviceName), DType.F16, tokens: 3, prefix: 700, group: 2, kvHeads: 2, headDim: 64);
        foreach (int cut in (int[])[1, 300, 512, 699])
        {
            (float[] actual, float[] lse) = dense.AttendInParts(DType.F32, cut);
            for (int row = 0; row < lse.Length; row++) dense.AssertClose(deviceName, DType.F32, row, actual, lse);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void MergeAttention_WithNothing_ChangesNoBit(string deviceName)
    {
        using var dense = new DensePrefix(devices.Open(deviceName), DType.F16, tokens: 3, prefix: 100, group: 2, kvHeads: 1, headDim: 64);
        (float[] expected, float[] expectedLse) = dense.Attend(DType.F16);
        foreach (int cut in (int[])[0, 100])
        {
            (float[] actual, float[] lse) = dense.AttendInParts(DType.F16, cut);
            Close.AssertSameBits(expected, actual);
            Close.AssertSameBits(expectedLse, lse);
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void PrefixAttention_WhatCudaDoesNotTake_IsSaid(string deviceName)
    {
        Device device = devices.Open(deviceName);
        AssertSays("head_dim is 20", headDim: 20);
        AssertSays("head_dim is 264", headDim: 264);
        AssertSays("queries is F16[1, 64]", queryGap: 4);
        AssertSays("keys is F16[3, 64]", keyGap: 3, valueGap: 3);
        AssertSays("rows of keys are 72 elements apart, those of values 64", keyGap: 8);
        AssertSays("all must be F16 or all BF16", keyType: DType.BF16);
        AssertSays("scale is 0", scale: 0);

        void AssertSays(string part, int headDim = 64, int queryGap = 0, int keyGap = 0, int valueGap = 0, DType keyType = DType.F16, float scale = 1)
        {
            using GuardedMatrix queries = new(device, DType.F16, 1, headDim, queryGap), result = new(device, DType.F16, 1, headDim), lse = new(device, DType.F32, 1, 1);
            using GuardedMatrix keys = new(device, keyType, 3, headDim, keyGap), values = new(device, DType.F16, 3, headDim, valueGap);
            var error = Assert.Throws<ArgumentException>(
                () => device.Operators.PrefixAttention(queries, keys, values, 1, scale, new AttentionState(result, lse)));
            Assert.Contains(part, error.Message);
        }
    }

    /// <summary>Keys and values of a prefix that a caller owns, in guarded memory whose rows are apart, and queries.</summary>
    private sealed class DensePrefix : IDisposable
    {
        private readonly Device _device;
        private readonly DType _type;
        private readonly int _prefix, _group, _kvHeads, _headDim;
        private readonly float _softCap;
        private readonly float[] _q, _k, _v;
        private readonly GuardedMatrix _queries, _keys, _values;

        public DensePrefix(Device device, DType type, int tokens, int prefix, int group, int kvHeads, int headDim, float softCap = 0)
        {
            (_device, _type, _prefix, _group, _kvHeads, _headDim, _softCap) = (device, type, prefix, group, kvHeads, headDim, softCap);
            _q = Rounded(1, tokens * group * kvHeads * headDim);
            _k = Rounded(2, prefix * kvHeads * headDim);
            _v = Rounded(3, prefix * kvHeads * headDim);
            _queries = new GuardedMatrix(device, type, tokens, group * kvHeads * headDim, _q, gap: 16);
            _keys = new GuardedMatrix(device, type, prefix, kvHeads * headDim, _k, gap: 8);
            _values = new GuardedMatrix(device, type, prefix, kvHeads * headDim, _v, gap: 8);
        }

        private float Scale => 1 / MathF.Sqrt(_headDim);

        private int Heads => _group * _kvHeads;

        /// <summary>Of some of the tokens over the positions first .. end - 1: output rows and lse.</summary>
        public (float[] Out, float[] Lse) Attend(DType resultType, int first = 0, int end = -1, int firstToken = 0, int tokens = -1)
        {
            DeviceMatrix queries = _queries.Matrix.SliceRows(firstToken, tokens < 0 ? _queries.Matrix.Rows : tokens);
            using var part = new Part(_device, resultType, queries.Rows, queries.Columns, Heads);
            Attend(queries, first, end < 0 ? _prefix : end, part);
            return part.Get();
        }

        /// <summary>Of all tokens, over the positions in front of and behind a cut, merged into the first part.</summary>
        public (float[] Out, float[] Lse) AttendInParts(DType resultType, int cut)
        {
            DeviceMatrix queries = _queries;
            using Part a = new(_device, resultType, queries.Rows, queries.Columns, Heads), b = new(_device, resultType, queries.Rows, queries.Columns, Heads);
            Attend(queries, 0, cut, a);
            Attend(queries, cut, _prefix, b);
            _device.Operators.MergeAttention(a.State, b.State, a.State);
            return a.Get();
        }

        /// <summary>Compares a row (token, head) with the definition.</summary>
        public void AssertClose(string deviceName, DType resultType, int row, float[] actual, float[] lse)
        {
            int kvHead = row % Heads / _group;
            var scores = new double[_prefix];
            double largestMagnitude = 0;
            for (int j = 0; j < _prefix; j++)
            {
                double magnitude = 0;
                for (int d = 0; d < _headDim; d++)
                {
                    double product = (double)_q[row * _headDim + d] * _k[(j * _kvHeads + kvHead) * _headDim + d] * Scale;
                    scores[j] += product;
                    magnitude += Math.Abs(product);
                }
                if (_softCap > 0) scores[j] = _softCap * Math.Tanh(scores[j] / _softCap);
                largestMagnitude = Math.Max(largestMagnitude, magnitude);
            }

            double max = scores.Max(), sum = scores.Sum(s => Math.Exp(s - max));
            double[] output = new double[_headDim], magnitudes = new double[_headDim];
            for (int j = 0; j < _prefix; j++)
            {
                for (int d = 0; d < _headDim; d++)
                {
                    double weighted = Math.Exp(scores[j] - max) / sum * _v[(j * _kvHeads + kvHead) * _headDim + d];
                    output[d] += weighted;
                    magnitudes[d] += Math.Abs(weighted);
                }
            }

            double weightRounding = Devices.IsCuda(deviceName) ? Close.UnitRoundoff(_type) : 0;
            Close.AssertEqual(output, actual.AsSpan(row * _headDim, _headDim), i =>
                Close.Bound(resultType, output[i], _prefix + 4 * _headDim, magnitudes[i]) + weightRounding * magnitudes[i]);
            double expected = max + Math.Log(sum);
            Close.AssertEqual([expected], lse.AsSpan(row, 1), _ => Close.Bound(DType.F32, expected, _headDim + _prefix, 1 + largestMagnitude));
        }

        public void Dispose()
        {
            _queries.Dispose();
            _keys.Dispose();
            _values.Dispose();
        }

        private void Attend(in DeviceMatrix queries, int first, int end, Part part)
        {
            DeviceMatrix keys = _keys.Matrix.SliceRows(first, end - first), values = _values.Matrix.SliceRows(first, end - first);
            _device.Operators.PrefixAttention(queries, keys, values, _kvHeads, Scale, part.State, _softCap);
        }

        private float[] Rounded(int seed, int length) => [.. Numbers.Uniform(seed, length, 2).Select(value => Close.Round(value, _type))];
    }

    /// <summary>Memory of an output and its lse.</summary>
    private sealed class Part(Device device, DType type, int tokens, int columns, int heads) : IDisposable
    {
        private readonly GuardedMatrix _out = new(device, type, tokens, columns, gap: 5), _lse = new(device, DType.F32, tokens, heads, gap: 1);

        public AttentionState State => new(_out, _lse);

        public (float[] Out, float[] Lse) Get()
        {
            _out.AssertUntouchedAround();
            _lse.AssertUntouchedAround();
            return (_out.Get(), _lse.Get());
        }

        public void Dispose()
        {
            _out.Dispose();
            _lse.Dispose();
        }
    }
}
