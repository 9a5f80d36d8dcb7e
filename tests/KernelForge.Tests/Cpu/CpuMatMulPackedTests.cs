namespace KernelForge.Tests;

/// <summary>Products with packed weights on the CPU: the order of sums, and that nothing else changes a bit.</summary>
public class CpuMatMulPackedTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly int[] RowCounts = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 128, 129, 200];

    public static TheoryData<string, string> Cases => Tests.Cases.Of(Devices.CpuNames, QuantizedMatrices.FormatNames);

    public static TheoryData<string> Formats => [.. QuantizedMatrices.FormatNames];

    [Theory, MemberData(nameof(Cases))]
    public void MatMulPacked_AnyNumberOfRows_SameBitsAsEachRowAlone(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 37;
        int most = RowCounts[^1], k = format.GroupSize == 0 ? 333 : 5 * format.GroupSize;
        using PackedWeights weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(format, n, k, seed: 1, hasOrder: format.GroupSize == 64));
        using var memory = new Memory(device);
        (DeviceMatrix x, _) = memory.Random(new Random(2), DType.F32, most, k);
        float[] alone = [.. Enumerable.Range(0, most).SelectMany(row => Multiply(device, x.SliceRows(row, 1), weights))];

        foreach (int rows in RowCounts)
        {
            int first = (most - rows) / 2; // rows lie at other places of a tile
            Close.AssertSameBits(alone.AsSpan(first * n, rows * n), Multiply(device, x.SliceRows(first, rows), weights));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void MatMulPacked_AnyThreadsAndInstructionSet_SameBits(string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        // Enough work for three parts of one tile's sixteens and of two tiles; gated; too little to share.
        foreach ((int rows, int n, int groups, bool isGated) in ((int, int, int, bool)[])[(1, 203, 40, false), (71, 104, 7, true), (9, 17, 1, false)])
        {
            int k = QuantizedMatrices.Length(format, groups);
            QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, seed: n), up = QuantizedMatrices.Random(format, n, k, seed: k);
            float[]? expected = null;
            foreach (CpuDeviceOptions options in Devices.CpuVariants)
            {
                using Device device = Device.OpenCpu(options);
                using PackedWeights weights = isGated ? QuantizedMatrices.PackGated(device, matrix, up) : QuantizedMatrices.Pack(device, matrix);
                using var memory = new Memory(device);
                float[] result = Multiply(device, memory.Random(new Random(3), DType.BF16, rows, k).Matrix, weights);
                Close.AssertSameBits(expected ??= result, result);
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void MatMulPacked_Sums_AreInTheOrderOfTheCanon(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 19, rows = 3;
        int k = QuantizedMatrices.Length(format, 6);
        QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, seed: 5);
        using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
        using var memory = new Memory(device);
        (DeviceMatrix x, float[,] values) = memory.Random(new Random(6), DType.F32, rows, k);
        float[] expected = [.. from row in Enumerable.Range(0, rows) from output in Enumerable.Range(0, n) select Canon(values, row, matrix, output)];

        Close.AssertSameBits(expected, Multiply(device, x, weights));
    }

    [Fact]
    public void MatMulPacked_SteadyState_AllocatesNothing()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
        using PackedWeights weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.W4Group128, 256, 1024, seed: 1, hasOrder: true));
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(DType.BF16, 9, 1024, fill: 1), result = memory.Filled(DType.BF16, 9, 256, fill: 0);
        long before = device.AllocatedBytes;

        Garbage.AssertNone(() => device.Operators.MatMulPacked(x, weights, result, residual: result)); // in two parts
        Garbage.AssertNone(() => device.Operators.MatMulPacked(x.SliceRows(0, 1), weights, result.SliceRows(0, 1))); // in one

        Assert.Equal(before, device.AllocatedBytes);
    }

    /// <summary>
    /// One element by the words of the canon: a group's products in one chain from +0, of each pair of neighbours the odd one first; sums of groups are scaled as they
    /// are added. Behind the last weight x and weights are 0, up to a multiple of 128.
    /// </summary>
    private static float Canon(float[,] x, int row, QuantizedMatrix weights, int output)
    {
        int groupSize = weights.Format.GroupSize == 0 ? 128 : weights.Format.GroupSize, groups = weights.Format.Groups(weights.K);
        float total = 0;
        for (int first = 0; first < weights.K; first += groupSize)
        {
            int group = weights.Format.GroupSize == 0 ? 0 : first / groupSize;
            float sum = 0;
            for (int pair = first; pair < first + groupSize; pair += 2)
                foreach (int k in (int[])[pair + 1, pair])
                    sum = k < weights.K ? MathF.FusedMultiplyAdd(x[row, k], weights.Codes[output * weights.K + k] - weights.Zero(output, group), sum) : sum + 0f;
            total = MathF.FusedMultiplyAdd(weights.Scales[output * groups + group], sum, total);
        }
        return total;
    }

    private static float[] Multiply(Device device, in DeviceMatrix x, PackedWeights weights)
    {
        using var memory = new Memory(device);
        DeviceMatrix result = memory.Filled(DType.F32, x.Rows, weights.ResultColumns, fill: float.NaN);
        device.Operators.MatMulPacked(x, weights, result);
        return Memory.Flat(result);
    }
}
