namespace KernelForge.Tests;

/// <summary>Products with weights of 4 and 8 bits on every device: values, edges, and what is fused with them.</summary>
public class MatMulPackedTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string, string> Cases => Tests.Cases.Of(Devices.Names, QuantizedMatrices.FormatNames);

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMulPacked_AnySize_IsCloseToDoublePrecision(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        (int Rows, int N, int Groups)[] sizes = [(1, 1, 1), (3, 64, 3), (9, 130, 5), (17, 47, 37), (70, 33, 2), (130, 16, 3)];
        foreach ((int rows, int n, int groups) in sizes)
        {
            int k = QuantizedMatrices.Length(format, groups);
            DType type = Types(deviceName)[rows % Types(deviceName).Length], resultType = n % 2 == 0 ? DType.F32 : type;
            QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, seed: rows + k, hasOrder: rows % 3 == 0);
            using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
            using var memory = new Memory(device);
            (DeviceMatrix x, float[,] xValues) = memory.Random(new Random(1), type, rows, k, gap: rows % 8);
            (DeviceMatrix bias, float[,] biasValues) = memory.Random(new Random(2), type, 1, n);
            using var result = new GuardedMatrix(device, resultType, rows, n, gap: 3);

            device.Operators.MatMulPacked(x, weights, result, bias);

            (double[] expected, double[] magnitude) = MatMulReference.Multiply(xValues, matrix.Dequantize(), [.. biasValues.Cast<float>()]);
            Close.AssertEqual(expected, result.Get(), i => Close.Bound(resultType, expected[i], k, magnitude[i]));
            result.AssertUntouchedAround();
        }
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMulPacked_UnitVectors_GiveScaleTimesCodeLessZeroRoundedOnce(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 21, k = 256; // all 8-bit codes
        float[] scales = [1, 1e-42f, 1.2e-38f, 3e38f, 1e35f, 0.1f, -0.3f, 0];
        QuantizedMatrix matrix = QuantizedMatrices.AllCodes(format, n, k, scales);
        using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
        float[,] unit = new float[k, k], dequantized = matrix.Dequantize();
        for (int i = 0; i < k; i++) unit[i, i] = 1;

        foreach (DType type in Types(deviceName))
        {
            using var memory = new Memory(device);
            using var result = new GuardedMatrix(device, DType.F32, k, n);
            device.Operators.MatMulPacked(memory.Copy(unit, type), weights, result);
            float[] actual = result.Get();
            for (int i = 0; i < actual.Length; i++) Assert.Equal(dequantized[i % n, i / n], actual[i]);
        }
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMulPacked_Gated_IsTheProductsAndSiluMul(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 72, rows = 11;
        int k = QuantizedMatrices.Length(format, 3); // one lane, whatever the number of outputs
        QuantizedMatrix gate = QuantizedMatrices.Random(format, n, k, seed: 1), up = QuantizedMatrices.Random(format, n, k, seed: 2);
        using PackedWeights both = QuantizedMatrices.PackGated(device, gate, up);
        using PackedWeights first = QuantizedMatrices.Pack(device, gate), second = QuantizedMatrices.Pack(device, up);
        foreach (DType type in Types(deviceName))
        {
            using var memory = new Memory(device);
            (DeviceMatrix x, _) = memory.Random(new Random(3), type, rows, k);
            (DeviceMatrix bias, _) = memory.Random(new Random(4), type, 1, 2 * n);
            DeviceMatrix gates = memory.Filled(type, rows, n, float.NaN), ups = memory.Filled(type, rows, n, float.NaN), expected = memory.Filled(type, rows, n, float.NaN);
            using var result = new GuardedMatrix(device, type, rows, n, gap: 1);

            device.Operators.MatMulPacked(x, first, gates, bias.SliceColumns(0, n));
            device.Operators.MatMulPacked(x, second, ups, bias.SliceColumns(n, n));
            device.Operators.SiluMul(gates, ups, expected);
            device.Operators.MatMulPacked(x, both, result, bias);

            Close.AssertSameBits(Memory.Flat(expected), result.Get());
            result.AssertUntouchedAround();
        }
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMulPacked_ResidualThatIsTheResult_IsAddedToTheRoundedProduct(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 39, rows = 10;
        int k = QuantizedMatrices.Length(format, 3);
        using PackedWeights weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(format, n, k, seed: 1));
        foreach (DType type in Types(deviceName))
            foreach (DType resultType in new[] { type, DType.F32 }.Distinct())
            {
                using var memory = new Memory(device);
                (DeviceMatrix x, _) = memory.Random(new Random(3), type, rows, k);
                (DeviceMatrix inPlace, float[,] residual) = memory.Random(new Random(4), resultType, rows, n, gap: 5);
                DeviceMatrix product = memory.Filled(resultType, rows, n, float.NaN);

                device.Operators.MatMulPacked(x, weights, product);
                device.Operators.MatMulPacked(x, weights, inPlace, residual: inPlace);

                float[] expected = [.. Memory.Flat(product).Zip(residual.Cast<float>(), (a, b) => Close.Round(a + b, resultType))];
                Close.AssertSameBits(expected, Memory.Flat(inPlace));
            }
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMulPacked_Order_IsThatOfTheInputs(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 24, rows = 5;
        int k = QuantizedMatrices.Length(format, 4);
        QuantizedMatrix ordered = QuantizedMatrices.Random(format, n, k, seed: 1, hasOrder: true);
        using PackedWeights inOrder = QuantizedMatrices.Pack(device, ordered);
        using PackedWeights plain = QuantizedMatrices.Pack(device, new QuantizedMatrix(format, n, k, ordered.Codes, ordered.Scales, ordered.Zeros));
        foreach (DType type in Types(deviceName))
        {
            using var memory = new Memory(device);
            (DeviceMatrix x, float[,] values) = memory.Random(new Random(2), type, rows, k, gap: 3);
            var gathered = new float[rows, k];
            for (int row = 0; row < rows; row++)
                for (int j = 0; j < k; j++) gathered[row, j] = values[row, ordered.Order![j]];
            DeviceMatrix expected = memory.Filled(type, rows, n, float.NaN), result = memory.Filled(type, rows, n, float.NaN);

            device.Operators.MatMulPacked(memory.Copy(gathered, type), plain, expected);
            device.Operators.MatMulPacked(x, inOrder, result);

            Close.AssertSameBits(Memory.Flat(expected), Memory.Flat(result));
        }
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMulPacked_NanAndInfinity_StayInTheirRows(string deviceName, string formatName)
    {
        WeightFormat format = WeightFormat.Parse(formatName);
        Device device = devices.Open(deviceName);
        const int n = 20, rows = 21;
        int k = QuantizedMatrices.Length(format, 3);
        using PackedWeights weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(format, n, k, seed: 1));
        foreach (DType type in Types(deviceName))
        {
            using var memory = new Memory(device);
            (DeviceMatrix x, _) = memory.Random(new Random(2), type, rows, k, gap: 7);
            DeviceMatrix clean = memory.Filled(type, rows, n, float.NaN), result = memory.Filled(type, rows, n, float.NaN);
            device.Operators.MatMulPacked(x, weights, clean);
            Memory.Set(x, 2, k - 1, float.NaN);
            Memory.Set(x, 17, 0, float.PositiveInfinity);

            device.Operators.MatMulPacked(x, weights, result);

            float[,] values = Memory.Read(result), before = Memory.Read(clean);
            for (int row = 0; row < rows; row++)
                for (int column = 0; column < n; column++)
                    Assert.True(row is 2 or 17 ? !float.IsFinite(values[row, column]) : values[row, column] == before[row, column],
                        $"[{row}, {column}] is {values[row, column]}, without NaN and infinity {before[row, column]}");
        }
    }

    /// <summary>Types of x; on the CPU the widest and one that is rounded to.</summary>
    private static DType[] Types(string deviceName) => Devices.IsCuda(deviceName) ? Devices.FloatTypes(deviceName) : [DType.F32, DType.BF16];
}
