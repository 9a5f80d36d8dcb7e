namespace KernelForge.Tests;

/// <summary>Products whose x is rounded first, to 8-bit whole numbers or to BF16: exact by their canon, whatever the instruction set, the threads and the library.</summary>
public class ActivationTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly int[] RowCounts = [1, 2, 3, 4, 7, 22]; // all tiles, alone and after others; packed by each part for itself, or once

    public static TheoryData<string> Formats => [.. QuantizedMatrices.FormatNames];

    public static TheoryData<DType> Types => [.. Numbers.FloatTypes];

    [Theory, MemberData(nameof(Formats))]
    public void MatMulPacked_Int8_IsTheCanonToTheBit(string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        const int n = 150; // two tiles, the last panel in part
        int most = RowCounts.Sum(), k = QuantizedMatrices.Length(format, 9);
        QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, seed: 1, hasOrder: format.GroupSize == 64);
        float[,] values = Values(most, k);
        float[] expected = [.. from row in Enumerable.Range(0, most) from output in Enumerable.Range(0, n) select Canon(values, row, matrix, output)];
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
            using var memory = new Memory(device);
            DeviceMatrix x = memory.Copy(values, DType.F32);
            int first = 0;
            foreach (int rows in RowCounts)
            {
                Close.AssertSameBits(expected.AsSpan(first * n, rows * n), Multiply(device, x.SliceRows(first, rows), weights, ActivationPrecision.Int8));
                first += rows;
            }
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void MatMulPacked_Int8_IsCloseToDoublePrecision(string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        const int rows = 5, n = 40;
        int k = QuantizedMatrices.Length(format, 9);
        QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, seed: 2);
        float[,] values = Values(rows, k), dequantized = matrix.Dequantize();
        using PackedWeights weights = QuantizedMatrices.Pack(Device.Cpu, matrix);
        using var memory = new Memory(Device.Cpu);

        float[] actual = Multiply(Device.Cpu, memory.Copy(values, DType.F32), weights, ActivationPrecision.Int8);

        (double[] expected, double[] magnitude) = MatMulReference.Multiply(values, dequantized);
        for (int i = 0; i < actual.Length; i++)
        {
            double rounding = Enumerable.Range(0, k).Sum(j => Math.Abs(dequantized[i % n, j]) * Scale(values, i / n, j / 128, null) / 2);
            Assert.InRange(actual[i] - expected[i], -1.001 * rounding - Close.Bound(DType.F32, expected[i], k, magnitude[i]), 1.001 * rounding + Close.Bound(DType.F32, expected[i], k, magnitude[i]));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void MatMulPacked_Int8Gated_IsTheProductsAndSiluMul(string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        const int n = 72, rows = 11;
        int k = QuantizedMatrices.Length(format, 3);
        QuantizedMatrix gate = QuantizedMatrices.Random(format, n, k, seed: 1), up = QuantizedMatrices.Random(format, n, k, seed: 2);
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using PackedWeights both = QuantizedMatrices.PackGated(device, gate, up), first = QuantizedMatrices.Pack(device, gate), second = QuantizedMatrices.Pack(device, up);
            using var memory = new Memory(device);
            DeviceMatrix x = memory.Copy(Values(rows, k), DType.BF16);
            DeviceMatrix gates = memory.Filled(DType.F32, rows, n, float.NaN), ups = memory.Filled(DType.F32, rows, n, float.NaN), expected = memory.Filled(DType.F32, rows, n, float.NaN);
            device.Operators.MatMulPacked(x, first, gates, activations: ActivationPrecision.Int8);
            device.Operators.MatMulPacked(x, second, ups, activations: ActivationPrecision.Int8);
            device.Operators.SiluMul(gates, ups, expected);

            Close.AssertSameBits(Memory.Flat(expected), Multiply(device, x, both, ActivationPrecision.Int8));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void MatMulPacked_Int8NanAndInfinity_MakeTheirRowsNan(string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        const int n = 20, rows = 11;
        int k = QuantizedMatrices.Length(format, 6);
        QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, seed: 1);
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
            using var memory = new Memory(device);
            DeviceMatrix x = memory.Copy(Values(rows, k), DType.F32);
            float[] before = Multiply(device, x, weights, ActivationPrecision.Int8);
            Memory.Set(x, 2, k - 1, float.NaN);
            Memory.Set(x, 6, 0, float.NegativeInfinity);
            Memory.Set(x, 9, k / 2, float.PositiveInfinity);

            float[] after = Multiply(device, x, weights, ActivationPrecision.Int8);

            for (int i = 0; i < after.Length; i++) Assert.Equal(i / n is 2 or 6 or 9 ? float.NaN : before[i], after[i]);
        }
    }

    [Fact]
    public void MatMulPacked_Int8OfTinyNumbers_IsTheCanonToTheBit()
    {
        const int rows = 4, n = 16, k = 128;
        var random = new Random(5);
        QuantizedMatrix matrix = QuantizedMatrices.Random(WeightFormat.W8Group128, n, k, seed: 3);
        var values = new float[rows, k]; // scales that are subnormal, or round to zero
        for (int i = 0; i < values.Length; i++) values[i / k, i % k] = BitConverter.Int32BitsToSingle(random.Next((i / k) switch { 0 => 40, 1 => 190, 2 => 100_000, _ => 1 << 24 }));
        float[] expected = [.. from row in Enumerable.Range(0, rows) from output in Enumerable.Range(0, n) select Canon(values, row, matrix, output)];
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
            using var memory = new Memory(device);
            Close.AssertSameBits(expected, Multiply(device, memory.Copy(values, DType.F32), weights, ActivationPrecision.Int8));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void MatMulPacked_BF16_IsTheProductOfRoundedRows(string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        int k = QuantizedMatrices.Length(format, 6);
        using PackedWeights weights = QuantizedMatrices.Pack(Device.Cpu, QuantizedMatrices.Random(format, 33, k, seed: 1));
        using var memory = new Memory(Device.Cpu);
        float[,] values = Values(9, k);

        float[] expected = Multiply(Device.Cpu, memory.Copy(values, DType.BF16), weights, ActivationPrecision.Full);

        Close.AssertSameBits(expected, Multiply(Device.Cpu, memory.Copy(values, DType.F32), weights, ActivationPrecision.BF16));
    }

    [Theory, MemberData(nameof(Types))]
    public void MatMul_BF16_IsTheProductOfRoundedRowsOnEveryDevice(DType weightType)
    {
        // One chunk; several, in pieces; an odd k.
        foreach ((int n, int k) in ((int, int)[])[(150, 64), (41, 1030), (16, 259)])
        {
            float[,] values = Values(RowCounts.Sum(), k), weightValues = Values(n, k, seed: 9);
            float[]? expected = null;
            foreach (CpuDeviceOptions options in Devices.CpuVariants)
            {
                using Device device = Device.OpenCpu(options);
                using var memory = new Memory(device);
                using DenseWeights weights = DenseWeights.Pack(memory.Copy(weightValues, weightType));
                DeviceMatrix x = memory.Copy(values, DType.F32), rounded = memory.Copy(values, DType.BF16);
                expected ??= Multiply(device, Widen(memory, rounded), weights, ActivationPrecision.Full);
                int first = 0;
                foreach (int rows in RowCounts)
                {
                    ReadOnlySpan<float> sums = expected.AsSpan(first * n, rows * n);
                    Close.AssertSameBits(sums, Multiply(device, x.SliceRows(first, rows), weights, ActivationPrecision.BF16));
                    Close.AssertSameBits(sums, Multiply(device, rounded.SliceRows(first, rows), weights, ActivationPrecision.Full));
                    first += rows;
                }
            }
        }
    }

    [Fact]
    public void MatMul_BF16Gated_IsTheProductsAndSiluMul()
    {
        const int n = 40, k = 300, rows = 7;
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            using var memory = new Memory(device);
            DeviceMatrix x = memory.Copy(Values(rows, k), DType.BF16), gate = memory.Copy(Values(n, k, seed: 4), DType.BF16), up = memory.Copy(Values(n, k, seed: 5), DType.BF16);
            DeviceMatrix gates = memory.Filled(DType.F32, rows, n, float.NaN), ups = memory.Filled(DType.F32, rows, n, float.NaN), expected = memory.Filled(DType.F32, rows, n, float.NaN);
            device.Operators.MatMul(x, gate, gates);
            device.Operators.MatMul(x, up, ups);
            device.Operators.SiluMul(gates, ups, expected);
            using DenseWeights both = DenseWeights.PackGated(gate, up);

            Close.AssertSameBits(Memory.Flat(expected), Multiply(device, x, both, ActivationPrecision.BF16));
        }
    }

    [Fact]
    public void MatMul_Int8WithDenseWeights_SaysWhatIsExpected()
    {
        using var memory = new Memory(Device.Cpu);
        DeviceMatrix x = memory.Filled(DType.F32, 1, 16, fill: 1), result = memory.Filled(DType.F32, 1, 16, fill: 0);
        using DenseWeights weights = DenseWeights.Pack(memory.Filled(DType.F32, 16, 16, fill: 1));

        Assert.Contains("Int8, expected Full or BF16", Assert.Throws<ArgumentException>(() => Device.Cpu.Operators.MatMul(x, weights, result, activations: ActivationPrecision.Int8)).Message);
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void MatMulPacked_RoundedOnCuda_SaysThatItIsNot(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using PackedWeights weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.W4Group128, 16, 128, seed: 1));
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(DType.F16, 1, 128, fill: 1), result = memory.Filled(DType.F16, 1, 16, fill: 0);
        foreach (ActivationPrecision activations in (ActivationPrecision[])[ActivationPrecision.BF16, ActivationPrecision.Int8])
        {
            string message = Assert.Throws<ArgumentException>(() => device.Operators.MatMulPacked(x, weights, result, activations: activations)).Message;
            Assert.Contains($"activations are {activations}, expected Full", message);
        }
    }

    [Fact]
    public void MatMul_RoundedInSteadyState_AllocatesNothing()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
        using var memory = new Memory(device);
        using PackedWeights packed = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.W4Group128, 256, 1024, seed: 1));
        using DenseWeights dense = DenseWeights.Pack(memory.Filled(DType.BF16, 256, 1024, fill: 1));
        DeviceMatrix x = memory.Filled(DType.F32, 9, 1024, fill: 1), result = memory.Filled(DType.F32, 9, 256, fill: 0);

        Garbage.AssertNone(() => device.Operators.MatMulPacked(x, packed, result, activations: ActivationPrecision.Int8));
        Garbage.AssertNone(() => device.Operators.MatMul(x, dense, result, activations: ActivationPrecision.BF16));
    }

    /// <summary>Numbers of very different size; blocks of zeros, rows of zeros.</summary>
    private static float[,] Values(int rows, int k, int seed = 3)
    {
        var random = new Random(seed);
        var values = new float[rows, k];
        for (int row = 0; row < rows; row++)
            for (int i = 0; i < k; i++)
                values[row, i] = row % 8 == 5 || (row + i / 128) % 7 == 6 ? 0 : (2 * random.NextSingle() - 1) * MathF.ScaleB(1, random.Next(6) - row % 5);
        return values;
    }

    /// <summary>
    /// One element by the words of the canon, sums in double precision, which holds them exactly. In the order of the weights k takes other columns of x.
    /// </summary>
    private static float Canon(float[,] x, int row, QuantizedMatrix weights, int output)
    {
        int groupSize = weights.Format.GroupSize == 0 ? 128 : weights.Format.GroupSize, groups = weights.Format.Groups(weights.K);
        float total = 0;
        for (int first = 0; first < weights.K; first += groupSize)
        {
            int group = weights.Format.GroupSize == 0 ? 0 : first / groupSize;
            float scale = Scale(x, row, first / 128, weights.Order);
            double sum = 0;
            for (int i = first; i < Math.Min(first + groupSize, weights.K); i++)
                sum += (weights.Codes[output * weights.K + i] - weights.Zero(output, group)) * Whole(x[row, weights.Order?[i] ?? i], scale);
            total = MathF.FusedMultiplyAdd((float)sum * scale, weights.Scales[output * groups + group], total);
        }
        return total;
    }

    private static float Scale(float[,] x, int row, int block, int[]? order)
    {
        float largest = 0;
        for (int i = block * 128; i < Math.Min(block * 128 + 128, x.GetLength(1)); i++) largest = MathF.Max(largest, MathF.Abs(x[row, order?[i] ?? i]));
        return largest / 127;
    }

    private static double Whole(float value, float scale) => scale == 0 ? 0 : Math.Clamp(MathF.Round(value / scale, MidpointRounding.ToEven), -127, 127);

    private static DeviceMatrix Widen(Memory memory, in DeviceMatrix x) => memory.Copy(Memory.Read(x), DType.F32);

    private static float[] Multiply(Device device, in DeviceMatrix x, PackedWeights weights, ActivationPrecision activations)
    {
        using var memory = new Memory(device);
        DeviceMatrix result = memory.Filled(DType.F32, x.Rows, weights.ResultColumns, fill: float.NaN);
        device.Operators.MatMulPacked(x, weights, result, activations: activations);
        return Memory.Flat(result);
    }

    private static float[] Multiply(Device device, in DeviceMatrix x, DenseWeights weights, ActivationPrecision activations)
    {
        using var memory = new Memory(device);
        DeviceMatrix result = memory.Filled(DType.F32, x.Rows, weights.ResultColumns, fill: float.NaN);
        device.Operators.MatMul(x, weights, result, activations: activations);
        return Memory.Flat(result);
    }
}
