namespace KernelForge.Tests;

public class MatMulTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    // k: nothing, one, about a step of 16 lanes, about one piece of the canon and into a third one, on the CPU 256 and on CUDA more.
    public static TheoryData<string, int> Lengths()
    {
        var data = new TheoryData<string, int>();
        foreach (string device in Devices.Names)
            foreach (int k in (int[])[0, 1, 3, 16, 17, 255, 257, 1023, 1025, 2060]) data.Add(device, k);
        return data;
    }

    public static TheoryData<string, DType, DType, DType, DType?> TypePairs()
    {
        // Every pair of types of two operands occurs at least once.
        (DType F32, DType F16, DType BF16) = (DType.F32, DType.F16, DType.BF16);
        var data = new TheoryData<string, DType, DType, DType, DType?>();
        foreach (string device in Devices.CpuNames)
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
        foreach (string device in Devices.CudaNames)
        {
            data.Add(device, F16, F16, F16, null);
            data.Add(device, F16, F16, F32, F16);
            data.Add(device, BF16, BF16, BF16, BF16);
            data.Add(device, BF16, BF16, F32, null);
        }
        return data;
    }

    [DeviceTheory, MemberData(nameof(Lengths))]
    public void MatMul_AnySize_IsCloseToDoublePrecision(string deviceName, int k)
    {
        // Rows: below, at and above a tile's. Columns: below, at and above a panel of 16, a strip of 64 and a block of 64.
        DType type = Devices.FloatTypes(deviceName)[0];
        foreach (int rows in (int[])[1, 2, 3, 4, 11])
            foreach (int columns in (int[])[1, 8, 33, 70])
                AssertCloseToReference(deviceName, rows, columns, k, type, type, DType.F32, biasType: null);
    }

    [DeviceTheory, MemberData(nameof(TypePairs))]
    public void MatMul_MixedTypes_IsCloseToDoublePrecision(string deviceName, DType x, DType weights, DType result, DType? bias)
    {
        AssertCloseToReference(deviceName, rows: 2, columns: 19, k: 1029, x, weights, result, bias); // widened in registers
        AssertCloseToReference(deviceName, rows: 18, columns: 19, k: 1029, x, weights, result, bias); // F16 widened once for all rows
        AssertCloseToReference(deviceName, rows: 130, columns: 70, k: 72, x, weights, result, bias, gap: 8); // whole vectors
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void MatMul_StridedRowsOfALargerMatrix_TouchesNothingElse(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (DType type in Devices.FloatTypes(deviceName))
            foreach (int rows in (int[])[1, 5])
            {
                using var memory = new Memory(device);
                (DeviceMatrix x, _) = memory.Random(new Random(1), type, rows, 40, gap: 3); // the gaps are NaN: reading one would show
                (DeviceMatrix weights, _) = memory.Random(new Random(2), type, 13, 40, gap: 1);
                DeviceMatrix around = memory.Filled(type, rows + 2, 13 + 8, fill: 77);

                device.Operators.MatMul(x, weights, around.SliceRows(1, rows).SliceColumns(5, 13));

                float[,] values = Memory.Read(around);
                for (int row = 0; row < rows + 2; row++)
                    for (int column = 0; column < 13 + 8; column++)
                    {
                        bool isResult = row >= 1 && row <= rows && column >= 5 && column < 5 + 13;
                        Assert.True(isResult ? float.IsFinite(values[row, column]) && values[row, column] != 77 : values[row, column] == 77,
                            $"{type}, {rows} rows: [{row}, {column}] is {values[row, column]}");
                    }
            }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void MatMul_KIsZero_GivesTheBias(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            using var memory = new Memory(device);
            DeviceMatrix x = memory.Filled(type, 4, 0, fill: 0, gap: 1), weights = memory.Filled(type, 9, 0, fill: 0, gap: 1);
            (DeviceMatrix bias, float[,] values) = memory.Random(new Random(1), type, 1, 9);
            DeviceMatrix result = memory.Filled(DType.F32, 4, 9, fill: float.NaN);

            device.Operators.MatMul(x, weights, result, bias);

            Close.AssertSameBits([.. Enumerable.Repeat(values.Cast<float>(), 4).SelectMany(row => row)], Memory.Flat(result));
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void MatMul_Residual_IsAddedToTheRoundedProduct(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (DType type in Devices.FloatTypes(deviceName))
            foreach (DType resultType in new[] { type, DType.F32 }.Distinct())
                foreach ((int rows, int columns) in ((int, int)[])[(1, 5), (3, 39), (70, 130)])
                {
                    using var memory = new Memory(device);
                    (DeviceMatrix x, _) = memory.Random(new Random(1), type, rows, 200);
                    (DeviceMatrix weights, _) = memory.Random(new Random(2), type, columns, 200);
                    (DeviceMatrix bias, _) = memory.Random(new Random(3), type, 1, columns);
                    (DeviceMatrix inPlace, float[,] residual) = memory.Random(new Random(4), resultType, rows, columns, gap: 5);
                    DeviceMatrix product = memory.Filled(resultType, rows, columns, float.NaN), apart = memory.Filled(resultType, rows, columns, float.NaN);

                    device.Operators.MatMul(x, weights, product, bias);
                    device.Operators.MatMul(x, weights, apart, bias, residual: inPlace);
                    device.Operators.MatMul(x, weights, inPlace, bias, residual: inPlace);

                    float[] expected = [.. Memory.Flat(product).Zip(residual.Cast<float>(), (a, b) => Close.Round(a + b, resultType))];
                    Close.AssertSameBits(expected, Memory.Flat(apart));
                    Close.AssertSameBits(expected, Memory.Flat(inPlace));
                }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void MatMul_NanAndInfinity_StayInTheirRowsAndColumns(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            using var memory = new Memory(device);
            DeviceMatrix x = memory.Filled(type, 7, 21, fill: 1), weights = memory.Filled(type, 11, 21, fill: 1);
            DeviceMatrix result = memory.Filled(type, 7, 11, fill: 0);
            Memory.Set(x, 2, 20, float.NaN);
            Memory.Set(x, 3, 0, float.PositiveInfinity);
            Memory.Set(weights, 9, 17, float.NegativeInfinity);
            Memory.Set(weights, 10, 5, float.NaN);
            Memory.Set(weights, 4, 0, 0); // times infinity

            device.Operators.MatMul(x, weights, result);

            float[,] values = Memory.Read(result);
            for (int row = 0; row < 7; row++)
                for (int column = 0; column < 11; column++)
                {
                    float expected = row == 2 || column == 10 ? float.NaN
                        : row == 3 ? (column is 4 or 9 ? float.NaN : float.PositiveInfinity)
                        : column == 9 ? float.NegativeInfinity
                        : column == 4 ? 20 : 21;
                    Assert.Equal(expected, values[row, column]);
                }
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void MatMul_SumBeyondTheResultType_BecomesInfinite(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(DType.F16, 1, 2, fill: 60_000), weights = memory.Filled(DType.F16, 1, 2, fill: -1);
        DeviceMatrix result = memory.Filled(DType.F16, 1, 1, fill: 0);

        device.Operators.MatMul(x, weights, result);

        Assert.Equal(float.NegativeInfinity, Memory.Read(result)[0, 0]);
    }

    [Fact]
    public void MatMul_WrongArguments_ThrowsWithWhatWasExpectedAndWhatCame()
    {
        Device device = Device.Cpu;
        using var memory = new Memory(device);
        DeviceMatrix Matrix(int rows, int columns, DType type = DType.F32) => memory.Filled(type, rows, columns, fill: 0);
        using Device other = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using var otherMemory = new Memory(other);
        using DeviceBuffer integers = device.Allocate(DType.I32, 6);

        void AssertThrows(DeviceMatrix x, DeviceMatrix weights, DeviceMatrix result, DeviceMatrix bias, params string[] messageParts)
        {
            string message = Assert.Throws<ArgumentException>(() => device.Operators.MatMul(x, weights, result, bias)).Message;
            Assert.All(messageParts, part => Assert.Contains(part, message, StringComparison.Ordinal));
        }

        AssertThrows(Matrix(2, 3), Matrix(4, 5), Matrix(2, 4), default, "weights are F32[4, 5]", "x F32[2, 3]");
        AssertThrows(Matrix(2, 3), Matrix(4, 3), Matrix(2, 5), default, "result is F32[2, 5]", "[2, 4]");
        AssertThrows(Matrix(2, 3), Matrix(4, 3), Matrix(1, 4), default, "result is F32[1, 4]", "[2, 4]");
        AssertThrows(Matrix(2, 3), Matrix(4, 3), Matrix(2, 4), Matrix(1, 3), "bias is F32[1, 3]", "[1, 4]");
        AssertThrows(integers.AsMatrix(2, 3), Matrix(4, 3), Matrix(2, 4), default, "x is I32[2, 3]", "F32, F16 or BF16");
        AssertThrows(Matrix(2, 3), Matrix(4, 3), otherMemory.Filled(DType.F32, 2, 4, fill: 0), default, other.Name, device.Name);
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void MatMul_SteadyState_AllocatesNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        using var memory = new Memory(device);
        (DType first, DType last) = (Devices.FloatTypes(deviceName)[0], Devices.IsCuda(deviceName) ? DType.F16 : DType.BF16);
        DeviceMatrix x = memory.Filled(first, 16, 600, fill: 1), weights = memory.Filled(last, 64, 600, fill: 1);
        DeviceMatrix result = memory.Filled(DType.F16, 16, 64, fill: 0), bias = memory.Filled(first, 1, 64, fill: 0);
        void Multiply()
        {
            device.Operators.MatMul(x, weights, result, bias); // in two parts
            device.Operators.MatMul(x.SliceRows(0, 1), weights, result.SliceRows(0, 1)); // in one
        }
        long deviceBefore = device.AllocatedBytes;
        Garbage.AssertNone(Multiply);
        Assert.Equal(deviceBefore, device.AllocatedBytes);
    }

    private void AssertCloseToReference(string deviceName, int rows, int columns, int k, DType xType, DType weightType, DType resultType, DType? biasType,
        int? gap = null)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        var random = new Random(rows * 31 + columns * 7 + k);
        (DeviceMatrix x, float[,] xValues) = memory.Random(random, xType, rows, k, gap ?? 5);
        (DeviceMatrix weights, float[,] weightValues) = memory.Random(random, weightType, columns, k, gap ?? 3);
        (DeviceMatrix bias, float[,] biasValues) = biasType is { } type ? memory.Random(random, type, 1, columns) : default;
        DeviceMatrix result = memory.Filled(resultType, rows, columns, float.NaN, gap: 2);

        device.Operators.MatMul(x, weights, result, bias);

        (double[] expected, double[] magnitude) = MatMulReference.Multiply(xValues, weightValues, biasValues?.Cast<float>().ToArray());
        Close.AssertEqual(expected, Memory.Flat(result), i => Close.Bound(resultType, expected[i], k, magnitude[i]));
    }
}
