using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>The order of sums that every CUDA kernel of MatMul keeps: lanes of k, each summed by itself, added from the first to the last.</summary>
public class MatMulCanonTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string, DType> AllTypes()
    {
        var data = new TheoryData<string, DType>();
        foreach (string device in Devices.CudaNames)
            foreach (DType type in Devices.FloatTypes(device)) data.Add(device, type);
        return data;
    }

    [Theory]
    [InlineData(6144, 4096, 1024)] // four lanes: 48 strips of 128 columns are too few for a GPU
    [InlineData(4096, 4096, 1024)]
    [InlineData(4096, 14336, 3584)]
    [InlineData(28672, 4096, 4096)] // one lane: 224 strips
    [InlineData(256, 8192, 1024)] // eight, the most
    [InlineData(256, 1024, 512)]
    [InlineData(256, 1023, 1024)] // two lanes would have less than 512 each
    [InlineData(256, 256, 256)]
    [InlineData(43, 2200, 640)] // four of 550, rounded up to whole groups of 128
    [InlineData(1, 1, 128)]
    [InlineData(1, 0, 128)]
    public void Length_OfWeights_FollowsTheRule(int columns, int k, int expected) => Assert.Equal(expected, MatMulLanes.Length(columns, k));

    [DeviceTheory, MemberData(nameof(AllTypes))]
    public void MatMul_SeveralLanes_IsTheSumOfTheLanesFromFirstToLast(string deviceName, DType type)
    {
        const int k = 2200, columns = 43, rows = 3;
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        (DeviceMatrix x, _) = memory.Random(new Random(1), type, rows, k);
        (DeviceMatrix weights, _) = memory.Random(new Random(2), type, columns, k);
        (DeviceMatrix bias, float[,] biasValues) = memory.Random(new Random(3), type, 1, columns);

        float[] expected = new float[rows * columns], actual = Multiply(device, x, weights, bias);

        int length = MatMulLanes.Length(columns, k);
        for (int start = 0; start < k; start += length)
        {
            int count = Math.Min(length, k - start);
            Assert.Equal(1, (count + MatMulLanes.Length(columns, count) - 1) / MatMulLanes.Length(columns, count)); // a lane alone is not cut again
            float[] lane = Multiply(device, x.SliceColumns(start, count), weights.SliceColumns(start, count), default);
            for (int i = 0; i < expected.Length; i++) expected[i] += lane[i];
        }

        for (int i = 0; i < expected.Length; i++) expected[i] += biasValues[0, i % columns];
        Close.AssertSameBits(expected, actual);
    }

    [DeviceTheory, MemberData(nameof(AllTypes))]
    public void MatMul_ResultOfTheOperandsType_IsTheRoundedFloatResult(string deviceName, DType type)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        (DeviceMatrix x, _) = memory.Random(new Random(4), type, 9, 200);
        (DeviceMatrix weights, _) = memory.Random(new Random(5), type, 70, 200);
        DeviceMatrix result = memory.Filled(type, 9, 70, fill: float.NaN);

        device.Operators.MatMul(x, weights, result);

        Close.AssertSameBits([.. Multiply(device, x, weights, default).Select(value => Close.Round(value, type))], Memory.Flat(result));
    }

    [DeviceTheory, MemberData(nameof(AllTypes))]
    public void MatMul_OtherTypes_SaysWhatCudaTakes(string deviceName, DType type)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(type, 1, 8, fill: 0), floats = memory.Filled(DType.F32, 1, 8, fill: 0), result = memory.Filled(DType.F32, 1, 1, fill: 0);

        Assert.Contains("F16 or BF16", Assert.Throws<ArgumentException>(() => device.Operators.MatMul(floats, floats, result)).Message);
        Assert.Contains($"{x} and {floats}", Assert.Throws<ArgumentException>(() => device.Operators.MatMul(x, floats, result)).Message);
        Assert.Contains("all must be F16 or all BF16", Assert.Throws<ArgumentException>(() => device.Operators.MatMul(x, x, result, result)).Message);
    }

    private static float[] Multiply(Device device, in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix bias)
    {
        using var memory = new Memory(device);
        DeviceMatrix result = memory.Filled(DType.F32, x.Rows, weights.Rows, fill: float.NaN);
        device.Operators.MatMul(x, weights, result, bias);
        return Memory.Flat(result);
    }
}
