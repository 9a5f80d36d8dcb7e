namespace KernelForge.Tests;

/// <summary>
/// RealignPadded against a model that keeps every sequence as a list, over many rounds: the rectangle (I1), positions (I2) and which keys and values there are
/// (the KV rule of EQSPEC), bit by bit, and nothing else touched.
/// </summary>
public sealed class RealignPaddedTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string, PaddingSide, bool> All => Cases.Of<string, PaddingSide, bool>(Devices.Names, [PaddingSide.Left, PaddingSide.Right], [true, false]);

    [DeviceTheory, MemberData(nameof(All))]
    public void RealignPadded_ManyRounds_KeepsTheInvariants(string deviceName, PaddingSide side, bool inPlace)
    {
        var random = new Random(7);
        foreach (DType type in Devices.FloatTypes(deviceName))
            foreach ((int sequences, int headDim) in ((int, int)[])[(1, 8), (2, 18), (3, 64), (5, 24), (4, 7)])
            {
                int capacity = random.Next(30, 60);
                var shape = new PaddedShape(sequences, random.Next(1, 4), headDim, random.Next(0, 3), capacity, type, side);
                using var run = new Run(devices.Open(deviceName), shape, random, inPlace);
                while (run.Round(most: random.Next(1, 6))) { }
            }
    }

    /// <summary>More sequences than a warp has lanes, so that several warps read and write the lengths.</summary>
    [DeviceTheory, MemberData(nameof(All))]
    public void RealignPadded_ManySequences_HaveOneLength(string deviceName, PaddingSide side, bool inPlace)
    {
        using var run = new Run(devices.Open(deviceName), new PaddedShape(300, 1, 8, 0, 60, DType.F16, side), new Random(1), inPlace);
        while (run.Round(most: 4)) { }
    }

    /// <summary>Strips of several chunks, which move by less, by about and by more than a chunk, both ways.</summary>
    [DeviceTheory, MemberData(nameof(All))]
    public void RealignPadded_LongStrips_MoveInPlaceBothWays(string deviceName, PaddingSide side, bool inPlace)
    {
        foreach ((int headDim, int most) in ((int, int)[])[(64, 5), (64, 300), (7, 300)])
        {
            var shape = new PaddedShape(3, 1, headDim, 1, 1500, Devices.FloatTypes(deviceName)[^1], side);
            using var run = new Run(devices.Open(deviceName), shape, new Random(most), inPlace, contents: [640, 700, 200]);
            for (int round = 0; round < 3 && run.Round(most); round++) { }
        }
    }

    [DeviceTheory, MemberData(nameof(All))]
    public void RealignPadded_AnyNumberOfLayers_MovesInAll(string deviceName, PaddingSide side, bool inPlace)
    {
        foreach (int layers in (int[])[63, 64, 65, 130])
        {
            using var run = new Run(devices.Open(deviceName), new PaddedShape(2, 1, 8, layers, 12, DType.F16, side), new Random(layers), inPlace, contents: [3, 2]);
            Assert.True(run.Round(most: 3));
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCpus), MemberType = typeof(Devices))]
    public void RealignPadded_WhatDoesNotFit_SaysWhy(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using var memory = new PaddedMemory(device, new PaddedShape(2, 1, 8, 1, 6, DType.F32, PaddingSide.Left));
        using var small = new PaddedMemory(device, new PaddedShape(2, 1, 8, 1, 5, DType.F32, PaddingSide.Left));
        memory.SetTokens([[1, 2, 3, 4], [5, 6]], 4);
        Assert.Contains("sequence 1 gains 4 tokens, expected 0 to 2", Error([1, 4], memory));
        Assert.Contains("needs 6 columns, there are 5", Error([2, 1], small));
        memory.SetTokens([[1, 2, 3, 4], []], 4);
        Assert.Contains("sequence 1 has 0 content columns, expected 1 to 4", Error([1, 1], memory));
        memory.SetTokens([[1], [2]], 1);
        memory.Batch.Length.CopyFrom([7]);
        Assert.Contains("a length of 7, the batch has 6 columns", Error([1, 1], memory));

        string Error(int[] counts, PaddedMemory result)
        {
            using DeviceBuffer countMemory = device.Upload<int>(counts), gained = device.Upload<int>(new int[4]);
            return Assert.Throws<ArgumentException>(() => device.Operators.RealignPadded(
                memory.Batch, memory.Layers, gained.AsSpan<int>(), countMemory.AsSpan<int>(), result.Batch, result.Layers)).Message;
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void RealignPadded_WrongShapes_SaysWhatItTakes(string deviceName)
    {
        Device device = devices.Open(deviceName);
        var shape = new PaddedShape(2, 2, 8, 1, 6, DType.F16, PaddingSide.Left);
        using PaddedMemory memory = new(device, shape), right = new(device, shape with { Side = PaddingSide.Right }), heads = new(device, shape with { Heads = 1 });
        using PaddedMemory type = new(device, shape with { DType = DType.BF16 }), none = new(device, shape with { Layers = 0 });
        Assert.Contains("padding is Left before and Right after", Error(right));
        Assert.Contains("expected as many heads", Error(heads));
        Assert.Contains("expected F16[12 * heads, 8]", Error(type));
        Assert.Contains("1 layers before and 0 after", Error(none));

        string Error(PaddedMemory result)
        {
            using DeviceBuffer ints = device.Upload<int>(new int[2]);
            return Assert.Throws<ArgumentException>(() => device.Operators.RealignPadded(
                memory.Batch, memory.Layers, ints.AsSpan<int>(), ints.AsSpan<int>(), result.Batch, result.Layers)).Message;
        }
    }

    /// <summary>A batch on a device and the same as lists.</summary>
    private sealed class Run : IDisposable
    {
        private readonly Device _device;
        private readonly PaddedShape _shape;
        private readonly Random _random;
        private readonly bool _inPlace;
        private readonly List<int>[] _tokens;
        private readonly List<float[]>[,,] _entries; // [matrix, sequence, head]: one vector for each token but the last
        private PaddedMemory _memory;
        private int _length;

        public Run(Device device, PaddedShape shape, Random random, bool inPlace, int[]? contents = null)
        {
            (_device, _shape, _random, _inPlace, _memory) = (device, shape, random, inPlace, new PaddedMemory(device, shape));
            _tokens = [.. Enumerable.Range(0, shape.Sequences).Select(i => Enumerable.Range(0, contents?[i] ?? random.Next(1, 10)).Select(_ => random.Next(3)).ToList())];
            _length = _tokens.Max(tokens => tokens.Count) + random.Next(2);
            _entries = new List<float[]>[2 * shape.Layers, shape.Sequences, shape.Heads];
            foreach ((int matrix, int sequence, int head) in Strips)
                _entries[matrix, sequence, head] = [.. Enumerable.Range(1, _tokens[sequence].Count - 1).Select(_ => Vector())];
            _memory.SetTokens(_tokens, _length);
            _memory.Caches = Expected(_memory.Caches);
        }

        private IEnumerable<(int Matrix, int Sequence, int Head)> Strips =>
            from matrix in Enumerable.Range(0, 2 * _shape.Layers)
            from sequence in Enumerable.Range(0, _shape.Sequences)
            from head in Enumerable.Range(0, _shape.Heads)
            select (matrix, sequence, head);

        /// <summary>One round in which sequences gain up to so many tokens; false where it would not fit.</summary>
        public bool Round(int most)
        {
            if (_length - 1 + most > _shape.Capacity || _length + most > _shape.Capacity) return false;
            int[] counts = [.. _tokens.Select(_ => _random.Next(0, most + 1))], gained = [.. Enumerable.Range(0, most * counts.Length).Select(_ => _random.Next(3))];
            Verify(counts, most);
            for (int i = 0; i < counts.Length; i++) _tokens[i].AddRange(gained.AsSpan(i * most, counts[i]).ToArray());
            _length = _tokens.Max(tokens => tokens.Count);

            PaddedMemory result = _inPlace ? _memory : new PaddedMemory(_device, _shape);
            float[][] cachesBefore = _memory.Caches, expected = Expected(result.Caches);
            int[][] intsBefore = _memory.Ints;
            Realign(gained, counts, result);
            AssertExpected(expected, result);
            if (_inPlace) return true;
            AssertSame(cachesBefore, _memory.Caches);
            Assert.Equal(intsBefore, _memory.Ints);
            _memory.Dispose();
            _memory = result;
            return true;
        }

        public void Dispose() => _memory.Dispose();

        /// <summary>What the target's pass leaves: vectors of the last token and of all drafts from column length - 1 on, of which as many as were gained count.</summary>
        private void Verify(int[] counts, int most)
        {
            float[][] caches = _memory.Caches;
            foreach ((int matrix, int sequence, int head) in Strips)
                for (int t = 0; t < most; t++)
                {
                    float[] vector = Vector();
                    vector.CopyTo(caches[matrix], (_shape.Strip(sequence, head) + _length - 1 + t) * _shape.HeadDim);
                    if (t < counts[sequence]) _entries[matrix, sequence, head].Add(vector);
                }
            _memory.Caches = caches;
        }

        private void Realign(int[] gained, int[] counts, PaddedMemory result)
        {
            using DeviceBuffer gainedMemory = _device.Upload<int>(gained), countMemory = _device.Upload<int>(counts);
            if (_inPlace) _device.Operators.RealignPadded(_memory.Batch, _memory.Layers, gainedMemory.AsSpan<int>(), countMemory.AsSpan<int>());
            else _device.Operators.RealignPadded(_memory.Batch, _memory.Layers, gainedMemory.AsSpan<int>(), countMemory.AsSpan<int>(), result.Batch, result.Layers);
        }

        /// <summary>The caches with the columns in front of the last one in use as they have to be: vectors of content, zero elsewhere.</summary>
        private float[][] Expected(float[][] caches)
        {
            foreach ((int matrix, int sequence, int head) in Strips)
            {
                List<float[]> entries = _entries[matrix, sequence, head];
                int strip = _shape.Strip(sequence, head), start = _shape.Side == PaddingSide.Left ? _length - 1 - entries.Count : 0;
                caches[matrix].AsSpan(strip * _shape.HeadDim, (_length - 1) * _shape.HeadDim).Clear();
                for (int t = 0; t < entries.Count; t++) entries[t].CopyTo(caches[matrix], (strip + start + t) * _shape.HeadDim);
            }
            return caches;
        }

        private void AssertExpected(float[][] caches, PaddedMemory result)
        {
            (int[] tokens, int[] positions, int[] mask) = result.Layout(_tokens, _length);
            Assert.Equal([tokens, positions, mask, [.. _tokens.Select(sequence => sequence.Count)], [_length]], result.Ints);
            AssertSame(caches, result.Caches);
            result.AssertUntouchedAround();
        }

        private static void AssertSame(float[][] expected, float[][] actual)
        {
            for (int i = 0; i < expected.Length; i++) Close.AssertSameBits(expected[i], actual[i]);
        }

        private float[] Vector() => [.. Enumerable.Range(0, _shape.HeadDim).Select(_ => (float)_random.Next(1, 256))];
    }
}
