namespace KernelForge.Tests;

/// <summary>The bits of an output element depend on its row of x, its row of weights and its bias, and on nothing else.</summary>
public class MatMulInvarianceTests
{
    private const int Columns = 43; // five panels of eight and a part of one

    // One chunk, chunk and part of a step, several chunks.
    public static TheoryData<string, DType, int> Cases()
    {
        var data = new TheoryData<string, DType, int>();
        foreach (string device in Devices.Names)
            foreach (DType weights in (DType[])[DType.F32, DType.F16, DType.BF16])
                foreach (int k in (int[])[64, 1030, 2200]) data.Add(device, weights, k);
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_RowAloneAndInShuffledBatches_SameBits(string deviceName, DType weightType, int k)
    {
        Device device = Devices.Open(deviceName);
        using var memory = new Memory(device);
        var random = new Random(k);
        (DeviceMatrix x, _) = memory.Random(random, DType.F32, 64, k);
        (DeviceMatrix weights, _) = memory.Random(random, weightType, Columns, k);
        float[][] alone = [.. Enumerable.Range(0, 64).Select(row => Multiply(device, x.SliceRows(row, 1), weights))];

        foreach (int rows in (int[])[2, 3, 4, 7, 33, 64])
        {
            int[] order = [.. Enumerable.Range(0, 64)];
            random.Shuffle(order);
            DeviceMatrix batch = memory.Filled(DType.F32, rows, k, fill: 0);
            for (int row = 0; row < rows; row++) x.Row<float>(order[row]).CopyTo(batch.Row<float>(row));

            float[] together = Multiply(device, batch, weights);

            for (int row = 0; row < rows; row++)
                Close.AssertSameBits(alone[order[row]], together.AsSpan(row * Columns, Columns));
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
        float[][] results = [.. Devices.Names.Select(name =>
        {
            using var memory = new Memory(Devices.Open(name));
            return Multiply(Devices.Open(name), memory.Copy(xValues, DType.F32), memory.Copy(weightValues, DType.F32));
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
