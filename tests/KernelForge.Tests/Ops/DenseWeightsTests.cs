namespace KernelForge.Tests;

/// <summary>Products with <see cref="DenseWeights"/>: close to double precision, and the bits of the row-major product whatever is beside a row.</summary>
public unsafe class DenseWeightsTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string, DType> Cases => Tests.Cases.Of(Devices.CpuNames, Numbers.FloatTypes);

    public static TheoryData<DType> Types => [.. Numbers.FloatTypes];

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_EveryPairOfTypes_IsCloseToDoublePrecisionAndTouchesNothingElse(string deviceName, DType weightType)
    {
        // Outputs: one, a panel, part of a second one, strips of four and eight panels and a part. k: one, odd, a chunk, the next.
        foreach ((int rows, int n, int k) in ((int, int, int)[])[(1, 1, 1), (3, 16, 255), (5, 23, 256), (2, 129, 257), (14, 71, 600)])
            foreach (DType xType in Numbers.FloatTypes)
                foreach (DType resultType in Numbers.FloatTypes)
                    AssertCloseToReference(deviceName, rows, n, k, xType, weightType, resultType, biasType: resultType == DType.F32 ? null : xType);
    }

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_AnyShape_SameBitsAsTheCanonAndTheRowMajorProduct(string deviceName, DType type)
    {
        Device device = devices.Open(deviceName);
        foreach ((int rows, int n, int k) in ((int, int, int)[])[(1, 5, 1), (1, 150, 515), (2, 70, 256), (3, 16, 33), (4, 200, 514), (13, 65, 257), (40, 17, 48)])
        {
            using var memory = new Memory(device);
            (DeviceMatrix x, float[,] xValues) = memory.Random(new Random(n), DType.F32, rows, k, gap: 3);
            (DeviceMatrix weights, float[,] weightValues) = memory.Random(new Random(k), type, n, k, gap: 1);
            using DenseWeights packed = DenseWeights.Pack(weights);

            float[] result = Multiply(device, x, packed);
            DeviceMatrix other = memory.Filled(DType.F32, rows, n, float.NaN);
            device.Operators.MatMul(x, weights, other);

            Close.AssertSameBits(Canon(xValues, weightValues), result);
            Close.AssertSameBits(result, Memory.Flat(other));
        }
    }

    [Theory, MemberData(nameof(Types))]
    public void MatMul_AnyThreadsInstructionSetAndRowsBeside_SameBits(DType type)
    {
        const int most = 17, n = 150, k = 700; // enough for three parts, from two rows on
        float[]? alone = null;
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using var memory = new Memory(device);
            (DeviceMatrix x, _) = memory.Random(new Random(1), DType.F32, most, k);
            using DenseWeights weights = DenseWeights.Pack(memory.Random(new Random(2), type, n, k).Matrix);
            alone ??= [.. Enumerable.Range(0, most).SelectMany(row => Multiply(device, x.SliceRows(row, 1), weights))];

            for (int rows = 1; rows <= most; rows++)
            {
                int first = (most - rows) / 2; // rows lie at other places of a tile
                Close.AssertSameBits(alone.AsSpan(first * n, rows * n), Multiply(device, x.SliceRows(first, rows), weights));
            }
        }
    }

    [Fact]
    public void MatMul_SeveralBlocksOfRows_SameBitsAsEachRowAlone()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Random(new Random(1), DType.BF16, 1030, 64).Matrix; // blocks of at most 512
        using DenseWeights packed = DenseWeights.Pack(memory.Random(new Random(2), DType.BF16, 33, 64).Matrix);

        float[] result = Multiply(device, x, packed);

        foreach (int row in (int[])[0, 343, 344, 511, 512, 687, 688, 1029])
            Close.AssertSameBits(Multiply(device, x.SliceRows(row, 1), packed), result.AsSpan(row * 33, 33));
    }

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_GatedWeights_IsSiluOfTheGateTimesUp(string deviceName, DType type)
    {
        Device device = devices.Open(deviceName);
        foreach ((int rows, int half) in ((int, int)[])[(1, 8), (5, 72), (2, 200)])
        {
            using var memory = new Memory(device);
            (DeviceMatrix x, _) = memory.Random(new Random(1), DType.F32, rows, 70);
            DeviceMatrix gate = memory.Random(new Random(2), type, half, 70, gap: 1).Matrix, up = memory.Random(new Random(3), type, half, 70, gap: 2).Matrix;
            (DeviceMatrix bias, _) = memory.Random(new Random(4), DType.F16, 1, 2 * half);
            (DeviceMatrix residual, _) = memory.Random(new Random(5), type, rows, half);
            using DenseWeights weights = DenseWeights.PackGated(gate, up);
            using var result = new GuardedMatrix(device, type, rows, half, gap: 3);

            device.Operators.MatMul(x, weights, result, bias, residual);

            DeviceMatrix gates = memory.Filled(type, rows, half, float.NaN), ups = memory.Filled(type, rows, half, float.NaN);
            device.Operators.MatMul(x, gate, gates, bias.SliceColumns(0, half));
            device.Operators.MatMul(x, up, ups, bias.SliceColumns(half, half));
            device.Operators.SiluMul(gates, ups, gates);
            float[] expected = [.. Memory.Flat(gates).Zip(Memory.Flat(residual), (a, b) => Close.Round(a + b, type))];
            Close.AssertSameBits(expected, result.Get());
            result.AssertUntouchedAround();
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_BF16Activations_IsTheProductWithRoundedX(string deviceName, DType type)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        foreach (DType xType in Numbers.FloatTypes)
        {
            (DeviceMatrix x, float[,] values) = memory.Random(new Random(1), xType, 7, 300);
            using DenseWeights weights = DenseWeights.Pack(memory.Random(new Random(2), type, 40, 300).Matrix);

            float[] result = Multiply(device, x, weights, ActivationPrecision.BF16);

            Close.AssertSameBits(Multiply(device, memory.Copy(values, DType.BF16), weights), result);
            if (xType != DType.BF16) Assert.NotEqual(Multiply(device, x, weights), result);
        }
    }

    [Theory, MemberData(nameof(Devices.AllCpus), MemberType = typeof(Devices))]
    public void MatMul_SpecialF16Weights_StaySpecial(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (int rows in (int[])[1, 3, 12]) // widened in registers, in a copy
            foreach ((int output, int k, float special) in ((int, int, float)[])[(3, 20, float.PositiveInfinity), (18, 7, float.NaN)]) // in both halves of a word
            {
                using var memory = new Memory(device);
                DeviceMatrix x = memory.Filled(DType.F32, rows, 37, fill: 1), weights = memory.Filled(DType.F16, 19, 37, fill: 1);
                Memory.Set(weights, output, k, special);
                using DenseWeights packed = DenseWeights.Pack(weights);

                float[] result = Multiply(device, x, packed);

                Assert.Equal([.. Enumerable.Range(0, rows * 19).Select(i => i % 19 == output ? special : 37)], result);
            }
    }

    [Theory, MemberData(nameof(Types))]
    public void Pack_Weights_LieAsTheLayoutSays(DType type)
    {
        foreach ((int n, int k, bool isGated) in ((int, int, bool)[])[(37, 35, false), (16, 64, false), (24, 131, true)])
        {
            using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
            using var memory = new Memory(device);
            (DeviceMatrix matrix, float[,] values) = memory.Random(new Random(1), type, n, k, gap: 5);
            (DeviceMatrix up, float[,] upValues) = memory.Random(new Random(2), type, n, k, gap: 1);
            using DenseWeights weights = isGated ? DenseWeights.PackGated(matrix, up) : DenseWeights.Pack(matrix);

            Assert.Equal((type, isGated ? 2 * n : n, k, n, isGated), (weights.DType, weights.N, weights.K, weights.ResultColumns, weights.IsGated));
            var bytes = new ReadOnlySpan<byte>((void*)weights.Buffer.Address, (int)weights.SizeInBytes);
            float[] elements = Numbers.FromBytes(bytes, type);
            int perWord = 4 / type.Size(), words = (k + 1) / 2 * 2 / perWord;
            Assert.Equal(elements.Length, (weights.N + 15) / 16 * words * 16 * perWord);
            for (int i = 0; i < elements.Length; i++)
            {
                (int word, int inWord) = Math.DivRem(i, perWord);
                (int panel, int lane, int j) = (word / 16 / words, word % 16, word / 16 % words * perWord + inWord);
                (float[,] source, int row) = !isGated ? (values, panel * 16 + lane) : (lane < 8 ? values : upValues, panel * 8 + lane % 8);
                float expected = row < n && j < k ? source[row, j] : 0;
                Assert.True(expected == elements[i], $"{weights}: element {i} is {elements[i]}, expected {expected}");
            }
        }
    }

    [Fact]
    public void MatMul_WrongArguments_ThrowsWithWhatWasExpectedAndWhatCame()
    {
        Device device = Device.Cpu;
        using var memory = new Memory(device);
        using Device other = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using var otherMemory = new Memory(other);
        DeviceMatrix Matrix(int rows, int columns, DType type = DType.F32) => memory.Filled(type, rows, columns, fill: 0);
        using DenseWeights weights = DenseWeights.Pack(Matrix(4, 3)), gated = DenseWeights.PackGated(Matrix(8, 3), Matrix(8, 3));
        using DenseWeights elsewhere = DenseWeights.Pack(otherMemory.Filled(DType.F32, 4, 3, fill: 0));

        void AssertThrows(DeviceMatrix x, DenseWeights weights, DeviceMatrix result, ActivationPrecision activations, params string[] messageParts)
        {
            string message = Assert.Throws<ArgumentException>(() => device.Operators.MatMul(x, weights, result, activations: activations)).Message;
            Assert.All(messageParts, part => Assert.Contains(part, message, StringComparison.Ordinal));
        }

        AssertThrows(Matrix(2, 5), weights, Matrix(2, 4), ActivationPrecision.Full, "weights are F32[4, 3]", "x F32[2, 5]", "3 columns");
        AssertThrows(Matrix(2, 3), weights, Matrix(2, 5), ActivationPrecision.Full, "result is F32[2, 5]", "[2, 4]");
        AssertThrows(Matrix(2, 3), gated, Matrix(2, 16), ActivationPrecision.Full, "result is F32[2, 16]", "[2, 8]");
        AssertThrows(Matrix(2, 3), weights, Matrix(2, 4), ActivationPrecision.Int8, "Int8", "Full or BF16");
        AssertThrows(Matrix(2, 3), elsewhere, Matrix(2, 4), ActivationPrecision.Full, other.Name, device.Name);
    }

    [Fact]
    public void Pack_WrongArguments_ThrowsWithWhatWasExpectedAndWhatCame()
    {
        Device device = Device.Cpu;
        using var memory = new Memory(device);
        using var gpu = new MemoryDevice(1000, isCpu: false);
        using DeviceBuffer integers = device.Allocate(DType.I32, 6), far = gpu.Allocate(DType.F16, 6);
        DeviceMatrix Matrix(int rows, int columns, DType type = DType.F32) => memory.Filled(type, rows, columns, fill: 0);
        using Device other = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using var otherMemory = new Memory(other);

        void AssertThrows(Func<DenseWeights> pack, params string[] messageParts)
        {
            string message = Assert.Throws<ArgumentException>(() => pack().Dispose()).Message;
            Assert.All(messageParts, part => Assert.Contains(part, message, StringComparison.Ordinal));
        }

        AssertThrows(() => DenseWeights.Pack(default), "at least one output");
        AssertThrows(() => DenseWeights.Pack(integers.AsMatrix(2, 3)), "I32[2, 3]", "F32, F16 or BF16");
        AssertThrows(() => DenseWeights.Pack(far.AsMatrix(2, 3)), gpu.Name, "a CPU device");
        AssertThrows(() => DenseWeights.PackGated(Matrix(8, 3), default), "up is", "F32[8, 3]");
        AssertThrows(() => DenseWeights.PackGated(Matrix(8, 3), Matrix(16, 3)), "up is F32[16, 3]", "F32[8, 3]");
        AssertThrows(() => DenseWeights.PackGated(Matrix(8, 3), Matrix(8, 3, DType.F16)), "up is F16[8, 3]", "F32[8, 3]");
        AssertThrows(() => DenseWeights.PackGated(Matrix(12, 3), Matrix(12, 3)), "12 outputs", "multiple of 8");
        AssertThrows(() => DenseWeights.PackGated(Matrix(8, 3), otherMemory.Filled(DType.F32, 8, 3, 0)), other.Name, device.Name);
    }

    [Fact]
    public void MatMul_CallersOnSeveralThreads_DoNotMixTheirRows()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
        using var memory = new Memory(device);
        using DenseWeights weights = DenseWeights.Pack(memory.Filled(DType.F32, 64, 512, fill: 1));
        (DeviceMatrix X, DeviceMatrix Result)[] calls =
            [.. Enumerable.Range(1, 3).Select(i => (memory.Filled(DType.F32, 16, 512, fill: i), memory.Filled(DType.F32, 16, 64, fill: 0)))];
        var wrong = new int[3];

        Thread[] callers = [.. Enumerable.Range(0, 3).Select(i => new Thread(() =>
        {
            for (int repeat = 0; repeat < 100; repeat++)
            {
                device.Operators.MatMul(calls[i].X, weights, calls[i].Result);
                wrong[i] += Memory.Flat(calls[i].Result).Count(value => value != 512 * (i + 1));
            }
        }))];
        foreach (Thread caller in callers) caller.Start();
        foreach (Thread caller in callers) caller.Join();

        Assert.Equal([0, 0, 0], wrong);
    }

    [Theory, MemberData(nameof(Devices.AllCpus), MemberType = typeof(Devices))]
    public void MatMul_SteadyState_AllocatesNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(DType.F32, 16, 600, fill: 1), result = memory.Filled(DType.F16, 16, 64, fill: 0);
        using DenseWeights weights = DenseWeights.Pack(memory.Filled(DType.F16, 64, 600, fill: 1));
        long before = device.AllocatedBytes;

        Garbage.AssertNone(() =>
        {
            device.Operators.MatMul(x, weights, result); // in two parts
            device.Operators.MatMul(x.SliceRows(0, 1), weights, result.SliceRows(0, 1)); // in one
        });

        Assert.Equal(before, device.AllocatedBytes);
    }

    private void AssertCloseToReference(string deviceName, int rows, int n, int k, DType xType, DType weightType, DType resultType, DType? biasType)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        var random = new Random(rows * 31 + n * 7 + k);
        (DeviceMatrix x, float[,] xValues) = memory.Random(random, xType, rows, k, gap: 5);
        (DeviceMatrix matrix, float[,] weightValues) = memory.Random(random, weightType, n, k, gap: 3);
        (DeviceMatrix bias, float[,] biasValues) = biasType is { } type ? memory.Random(random, type, 1, n) : default;
        using DenseWeights weights = DenseWeights.Pack(matrix);
        using var result = new GuardedMatrix(device, resultType, rows, n, gap: 2);

        device.Operators.MatMul(x, weights, result, bias);

        (double[] expected, double[] magnitude) = MatMulReference.Multiply(xValues, weightValues, biasValues?.Cast<float>().ToArray());
        Close.AssertEqual(expected, result.Get(), i => Close.Bound(resultType, expected[i], k, magnitude[i]));
        result.AssertUntouchedAround();
    }

    /// <summary>Chunks of 256; in each, of two neighbours the second first.</summary>
    private static float[] Canon(float[,] x, float[,] weights)
    {
        int rows = x.GetLength(0), n = weights.GetLength(0), k = x.GetLength(1);
        var result = new float[rows * n];
        for (int i = 0; i < result.Length; i++)
            for (int start = 0; start < k; start += 256)
            {
                float sum = 0;
                for (int j = start; j < Math.Min(start + 256, k); j += 2)
                {
                    if (j + 1 < k) sum = MathF.FusedMultiplyAdd(x[i / n, j + 1], weights[i % n, j + 1], sum);
                    sum = MathF.FusedMultiplyAdd(x[i / n, j], weights[i % n, j], sum);
                }
                result[i] = start == 0 ? sum : result[i] + sum;
            }
        return result;
    }

    private static float[] Multiply(Device device, in DeviceMatrix x, DenseWeights weights, ActivationPrecision activations = ActivationPrecision.Full)
    {
        using var memory = new Memory(device);
        DeviceMatrix result = memory.Filled(DType.F32, x.Rows, weights.ResultColumns, fill: float.NaN);
        device.Operators.MatMul(x, weights, result, activations: activations);
        return Memory.Flat(result);
    }
}
