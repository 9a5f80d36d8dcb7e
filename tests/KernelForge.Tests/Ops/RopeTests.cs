namespace KernelForge.Tests;

/// <summary>Rope against its definition, on strided rows of every type.</summary>
public sealed class RopeTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly int[] Positions = [4, 0, 2];

    public static TheoryData<string> All => Devices.All;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Rope_AllTypes_RotatesPairsByTheAngleOfTheirPosition(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer positions = device.Upload<int>(Positions);
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            // Pairs fill no, some and whole vectors; rows with a gap of 3 start anywhere, those with 8 at whole vectors.
            foreach ((int headDim, int gap) in ((int, int)[])[(2, 3), (14, 3), (32, 3), (32, 8), (34, 8), (48, 8), (64, 3), (64, 0), (128, 3), (128, 0)])
            {
                using var x = new GuardedMatrix(device, type, 3, 2 * headDim, Numbers.Uniform(8, 6 * headDim, 2), gap);
                using var angles = new GuardedMatrix(device, DType.F32, 5, headDim, Numbers.Uniform(9, 5 * headDim), gap: 1);
                float[] before = x.Get(), table = angles.Get();
                device.Operators.Rope(x, positions.AsSpan<int>(), angles);
                double[] expected = Rotate(before, table, headDim);
                Close.AssertEqual(expected, x.Get(), i => Close.Bound(type, expected[i], 2, 4));
                x.AssertUntouchedAround();
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Rope_AnyAlignmentAndBatch_GivesTheBitsOfTheCpu(string deviceName)
    {
        const int headDim = 32;
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            float[] expected = Rotate(Device.Cpu, gap: 3, rows: 3);
            foreach ((int gap, int rows) in ((int, int)[])[(3, 3), (8, 3), (0, 1)])
                Close.AssertSameBits(expected.AsSpan(0, rows * 2 * headDim), Rotate(devices.Open(deviceName), gap, rows));

            float[] Rotate(Device device, int gap, int rows)
            {
                using DeviceBuffer positions = device.Upload<int>(Positions.AsSpan(0, rows));
                using var x = new GuardedMatrix(device, type, rows, 2 * headDim, WithEqualPairs(Numbers.Uniform(8, 6 * headDim, 2)), gap);
                using var angles = new GuardedMatrix(device, DType.F32, 5, headDim, WithEqualPairs(Numbers.Uniform(9, 5 * headDim)));
                device.Operators.Rope(x, positions.AsSpan<int>(), angles);
                return x.Get();
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Rope_FloatsOnCuda_SaysWhatItTakes(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer positions = device.Upload<int>([0]);
        using var x = new GuardedMatrix(device, DType.F32, 1, 16);
        var error = Assert.Throws<ArgumentException>(() => device.Operators.Rope(x, positions.AsSpan<int>(), x));
        Assert.Contains("F16 or BF16", error.Message);
    }

    /// <summary>Makes every other pair of a head of 32 equal: of such numbers and angles a cos - b sin is 0, unless one product is not rounded.</summary>
    private static float[] WithEqualPairs(float[] values)
    {
        for (int i = 0; i < values.Length; i += 2)
            if (i % 32 < 16) values[i + 16] = values[i];
        return values;
    }

    private static double[] Rotate(float[] x, float[] table, int headDim)
    {
        var rotated = new double[x.Length];
        for (int i = 0; i < x.Length; i++)
        {
            int inHead = i % headDim, half = headDim / 2, pair = inHead < half ? i + half : i - half;
            int angle = Positions[i / (2 * headDim)] * headDim + inHead % half;
            rotated[i] = ((double)x[i] * table[angle]) + (inHead < half ? -1.0 : 1.0) * x[pair] * table[angle + half];
        }

        return rotated;
    }
}
