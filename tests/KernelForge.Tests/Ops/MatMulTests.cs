namespace KernelForge.Tests;

public class MatMulTests
{
    // k: nothing, one, about a step of 16 lanes, about one chunk of 1,024 and into a third one.
    public static TheoryData<string, int> Lengths()
    {
        var data = new TheoryData<string, int>();
        foreach (string device in Devices.Names)
            foreach (int k in (int[])[0, 1, 3, 16, 17, 1023, 1025, 2100]) data.Add(device, k);
        return data;
    }

    public static TheoryData<string, DType, DType, DType, DType?> TypePairs()
    {
        // Every pair of types of two operands occurs at least once.
        (DType F32, DType F16, DType BF16) = (DType.F32, DType.F16, DType.BF16);
        var data = new TheoryData<string, DType, DType, DType, DType?>();
        foreach (string device in Devices.Names)
        {
            data.Add(device, F32, F32, F32, null);
            data.Add(device, F32, F16, F16, F32);
            data.Add(device, F32, BF16, BF16, BF16);
            data.Add(device, F16, F32, F16, BF16);
            data.Add(device, F16, F16, BF16, null);
            data.Add(device, F16, BF16, F32, F32);
            data.Add(device, BF16, F32, BF16, F32);
            data.Add(device, BF16, F16, F32, BF16);
            data.Add(device, BF16, BF16, F16, null);
            data.Add(device, F32, F32, BF16, F16);
            data.Add(device, F16, F16, F32, F16);
            data.Add(device, BF16, BF16, F16, F16);
        }
        return data;
    }

    [Theory, MemberData(nameof(Lengths))]
    public void MatMul_AnySize_IsCloseToDoublePrecision(string deviceName, int k)
    {
        // Rows: below, at and above a tile's. Columns: below, at and above a panel of 8 and a strip of 32.
        foreach (int rows in (int[])[1, 2, 3, 4, 17])
            foreach (int columns in (int[])[1, 8, 33])
                AssertCloseToReference(deviceName, rows, columns, k, DType.F32, DType.F32, DType.F32, biasType: null);
    }

    [Theory, MemberData(nameof(TypePairs))]
    public void MatMul_MixedTypes_IsCloseToDoublePrecision(string deviceName, DType x, DType weights, DType result, DType? bias)
    {
        AssertCloseToReference(deviceName, rows: 2, columns: 19, k: 1029, x, weights, result, bias); // weights read in place
        AssertCloseToReference(deviceName, rows: 7, columns: 19, k: 1029, x, weights, result, bias); // weights widened
    }

    private static void AssertCloseToReference(string deviceName, int rows, int columns, int k, DType xType, DType weightType, DType resultType, DType? biasType)
    {
        Device device = Devices.Open(deviceName);
        using var memory = new Memory(device);
        var random = new Random(rows * 31 + columns * 7 + k);
        (DeviceMatrix x, float[,] xValues) = memory.Random(random, xType, rows, k, gap: 5);
        (DeviceMatrix weights, float[,] weightValues) = memory.Random(random, weightType, columns, k, gap: 3);
        (DeviceMatrix bias, float[,] biasValues) = biasType is { } type ? memory.Random(random, type, 1, columns) : default;
        DeviceMatrix result = memory.Filled(resultType, rows, columns, float.NaN, gap: 2);

        device.Operators.MatMul(x, weights, result, bias);

        (double[] expected, double[] magnitude) = MatMulReference.Multiply(xValues, weightValues, biasValues?.Cast<float>().ToArray());
        Close.AssertEqual(expected, Memory.Flat(result), i => Close.Bound(resultType, expected[i], k, magnitude[i]));
    }
}
