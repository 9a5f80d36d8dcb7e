namespace KernelForge.Tests;

/// <summary>The bits of an output element depend on its row of x, its row of weights and its bias, and on nothing else.</summary>
public class MatMulInvarianceTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Columns = 43; // two panels of sixteen and a part of one

    // One chunk, chunk and part of a step, several chunks.
    public static TheoryData<string, DType, int> Cases()
    {
        var data = new TheoryData<string, DType, int>();
        foreach (string device in Devices.Names)
            foreach (DType weights in Devices.FloatTypes(device))
                foreach (int k in (int[])[64, 1030, 2200]) data.Add(device, weights, k);
        return data;
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMul_RowAloneAndInShuffledBatches_SameBits(string deviceName, DType weightType, int k)
    {
        Device device = devices.Open(deviceName);
        DType xType = Devices.IsCuda(deviceName) ? weightType : DType.F32;
        int step = Devices.IsCuda(deviceName) ? 8 : 1; // between rows that are computed alone
        using var memory = new Memory(device);
        var random = new Random(k);
        (DeviceMatrix x, float[,] xValues) = memory.Random(random, xType, 64, k);
        (DeviceMatrix weights, _) = memory.Random(random, weightType, Columns, k);
        Dictionary<int, float[]> alone = Enumerable.Range(0, 64 / step).ToDictionary(i => i * step, i => Multiply(device, x.SliceRows(i * step, 1), weights));

        foreach (int rows in (int[])[2, 3, 4, 7, 33, 64])
        {
            int[] order = [.. Enumerable.Range(0, 64)];
            random.Shuffle(order);
            int place = Array.IndexOf(order, order.First(alone.ContainsKey));
            (order[0], order[place]) = (order[place], order[0]); // one of those in every batch
            var batch = new float[rows, k];
            for (int row = 0; row < rows; row++)
                for (int i = 0; i < k; i++) batch[row, i] = xValues[order[row], i];
            using var own = new Memory(device);

            float[] together = Multiply(device, own.Copy(batch, xType), weights);

            for (int row = 0; row < rows; row++)
                if (alone.TryGetValue(order[row], out float[]? expected)) Close.AssertSameBits(expected, together.AsSpan(row * Columns, Columns));
        }
    }

    [Theory, InlineData(DType.F32), InlineData(DType.F16), InlineData(DType.BF16)]
    public void MatMul_AnyThreadsAndInstructionSet_SameBits(DType weightType)
    {
        using var memory = new Memory(Device.Cpu);
        // Enough work for three parts of panels, for parts that end within a block of rows, and too little to share.
        foreach ((int rows, int columns, int k) in ((int, int, int)[])[(1, 203, 4100), (300, Columns, 41), (9, Columns, 17)])
        {
            (DeviceMatrix x, float[,] xValues) = memory.Random(new Random(rows), DType.F32, rows, k);
            (DeviceMatrix weights, float[,] weightValues) = memory.Random(new Random(k), weightType, columns, k);
            float[] expected = Multiply(Device.Cpu, x, weights);
            foreach (CpuInstructionSet set in Enum.GetValues<CpuInstructionSet>().Where(set => set <= CpuInstructionSets.Best))
                foreach (int threads in (int[])[1, 2, 3])
                {
                    using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = threads, InstructionSet = set });
                    using var own = new Memory(device);
                    Close.AssertSameBits(expected, Multiply(device, own.Copy(xValues, DType.F32), own.Copy(weightValues, weightType)));
                }
        }
    }

    [Fact]
    public void MatMul_NansOfSeveralKindsMeet_SameBitsOnEveryInstructionSet()
    {
        float[,] xValues = new float[4, 40], weightValues = new float[9, 40];
        xValues[0, 3] = BitConverter.UInt32BitsToSingle(0x7FC0_1234);
        xValues[0, 30] = BitConverter.UInt32BitsToSingle(0xFFC0_4321);
        xValues[1, 3] = float.PositiveInfinity; // times zero
        weightValues[5, 3] = BitConverter.UInt32BitsToSingle(0x7FE0_0000);
        weightValues[5, 11] = BitConverter.UInt32BitsToSingle(0xFFD0_0000);
        float[][] results = [.. Devices.CpuNames.Select(name =>
        {
            using var memory = new Memory(devices.Open(name));
            return Multiply(devices.Open(name), memory.Copy(xValues, DType.F32), memory.Copy(weightValues, DType.F32));
        })];

        Assert.Equal(20, results[0].Count(float.IsNaN)); // two rows of nine, and one column of the other two
        Assert.All(results, result => Close.AssertSameBits(results[0], result));
    }

    private static float[] Multiply(Device device, in DeviceMatrix x, in DeviceMatrix weights)
    {
        using var memory = new Memory(device);
        DeviceMatrix result = memory.Filled(DType.F32, x.Rows, weights.Rows, fill: float.NaN);
        device.Operators.MatMul(x, weights, result);
        return Memory.Flat(result);
    }
}
