namespace KernelForge.Tests;

/// <summary>RmsNorm, AddRmsNorm, SiluMul, Rope, Embed and AppendKv against their definitions, on strided rows of all type combinations.</summary>
public sealed class RowOperatorTests
{
    private const float Epsilon = 0.125f; // large enough to be seen
    private static readonly int[] Widths = [1, 15, 16, 17, 33, 64, 130];

    public static TheoryData<string> All => Devices.All;

    [Theory]
    [MemberData(nameof(All))]
    public void RmsNorm_AllTypes_EqualsTheDefinition(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        ForTypes((a, b, c, columns) =>
        {
            using var x = new GuardedMatrix(device, a, 3, columns, Numbers.Uniform(1, 3 * columns, 3), gap: 1);
            using var weight = new GuardedMatrix(device, b, 1, columns, Numbers.Uniform(2, columns));
            using var result = new GuardedMatrix(device, c, 3, columns, gap: 2);
            device.Operators.RmsNorm(x, weight, Epsilon, result);
            AssertNormalized(x.Get(), weight.Get(), result);
        });
    }

    [Theory]
    [MemberData(nameof(All))]
    public void AddRmsNorm_AllTypes_UpdatesResidualAndNormalizesTheStoredSum(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        ForTypes((a, b, c, columns) =>
        {
            using var x = new GuardedMatrix(device, a, 3, columns, Numbers.Uniform(3, 3 * columns, 3), gap: 1);
            using var residual = new GuardedMatrix(device, b, 3, columns, Numbers.Uniform(4, 3 * columns, 100), gap: 3);
            using var weight = new GuardedMatrix(device, a, 1, columns, Numbers.Uniform(5, columns));
            using var result = new GuardedMatrix(device, c, 3, columns, gap: 2);
            float[] sums = [.. x.Get().Zip(residual.Get(), (p, q) => Close.Round(p + q, b))];
            device.Operators.AddRmsNorm(x, residual, weight, Epsilon, result);
            Close.AssertSameBits(sums, residual.Get());
            residual.AssertUntouchedAround();
            AssertNormalized(sums, weight.Get(), result);
        });
    }

    [Theory]
    [MemberData(nameof(All))]
    public void SiluMul_AllTypes_EqualsTheDefinition(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        ForTypes((a, b, c, columns) =>
        {
            using var gate = new GuardedMatrix(device, a, 2, columns, Numbers.Uniform(6, 2 * columns, 30), gap: 1);
            using var up = new GuardedMatrix(device, b, 2, columns, Numbers.Uniform(7, 2 * columns, 3));
            using var result = new GuardedMatrix(device, c, 2, columns, gap: 2);
            device.Operators.SiluMul(gate, up, result);
            double[] expected = [.. gate.Get().Zip(up.Get(), (g, u) => g / (1 + Math.Exp(-(double)g)) * u)];
            Close.AssertEqual(expected, result.Get(), i => Close.Bound(c, expected[i], 4, Math.Abs(expected[i])));
            result.AssertUntouchedAround();
        });
    }

    [Theory]
    [MemberData(nameof(All))]
    public void SiluMul_ExtremeGates_Saturates(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        using var gate = new GuardedMatrix(device, DType.F32, 1, 5, [-1e30f, -200f, 0f, 200f, 1e30f]);
        using var up = new GuardedMatrix(device, DType.F32, 1, 5, [2f, 2f, 2f, 2f, 2f]);
        device.Operators.SiluMul(gate, up, gate);
        Assert.Equal([0f, 0f, 0f, 400f, 2e30f], gate.Get());
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Rope_AllTypes_RotatesPairsByTheAngleOfTheirPosition(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        int[] positions = [4, 0, 2];
        using DeviceBuffer positionBuffer = device.Upload<int>(positions);
        foreach (DType type in Numbers.FloatTypes)
        {
            foreach (int headDim in (int[])[2, 14, 32, 34, 64, 128])
            {
                using var x = new GuardedMatrix(device, type, 3, 2 * headDim, Numbers.Uniform(8, 6 * headDim, 2), gap: 3);
                using var angles = new GuardedMatrix(device, DType.F32, 5, headDim, Numbers.Uniform(9, 5 * headDim), gap: 1);
                float[] before = x.Get(), table = angles.Get();
                device.Operators.Rope(x, positionBuffer.AsSpan<int>(), angles);
                var expected = new double[before.Length];
                for (int i = 0; i < before.Length; i++)
                {
                    int inHead = i % headDim, half = headDim / 2, pair = inHead < half ? i + half : i - half;
                    int angle = positions[i / (2 * headDim)] * headDim + inHead % half;
                    expected[i] = ((double)before[i] * table[angle]) + (inHead < half ? -1.0 : 1.0) * before[pair] * table[angle + half];
                }

                Close.AssertEqual(expected, x.Get(), i => Close.Bound(type, expected[i], 2, 4));
                x.AssertUntouchedAround();
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Embed_AllTypes_CopiesOrConvertsRows(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        int[] rows = [2, 0, 3, 3];
        using DeviceBuffer rowBuffer = device.Upload<int>(rows);
        ForTypes((a, b, c, columns) =>
        {
            using var table = new GuardedMatrix(device, a, 4, columns, Numbers.Uniform(10, 4 * columns, 3), gap: 2);
            using var result = new GuardedMatrix(device, c, 4, columns, gap: 1);
            device.Operators.Embed(rowBuffer.AsSpan<int>(), table, result);
            float[] expected = [.. rows.SelectMany(row => table.GetRow(row)).Select(v => Close.Round(v, c))];
            Close.AssertSameBits(expected, result.Get());
            result.AssertUntouchedAround();
        });
    }

    [Theory]
    [MemberData(nameof(All))]
    public void AppendKv_AllTypes_FillsItsSlotsOnly(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        int[] slots = [5, 0, 11];
        using DeviceBuffer slotBuffer = device.Upload<int>(slots);
        foreach (DType cacheType in Numbers.FloatTypes)
        {
            foreach (DType type in Numbers.FloatTypes)
            {
                var format = new KvFormat(BlockSize: 4, KvHeads: 2, HeadDim: 18, cacheType);
                using var memory = new GuardedMatrix(device, cacheType, 3 * format.RowsPerBlock, 18);
                using var keys = new GuardedMatrix(device, type, 3, 36, Numbers.Uniform(11, 108), gap: 4);
                using var values = new GuardedMatrix(device, type, 3, 36, Numbers.Uniform(12, 108), gap: 1);
                var layer = new KvLayer(memory, format);
                device.Operators.AppendKv(keys, values, slotBuffer.AsSpan<int>(), layer);

                float[] expected = [.. Enumerable.Repeat(float.NaN, 3 * format.RowsPerBlock * 18)];
                for (int i = 0; i < 108; i++)
                {
                    (int token, int head, int d) = (i / 36, i / 18 % 2, i % 18);
                    (int block, int offset) = Math.DivRem(slots[token], 4);
                    expected[(layer.KeyRow(block, head) + offset) * 18 + d] = Close.Round(keys.Get()[i], cacheType);
                    expected[(layer.ValueRow(block, head) + offset) * 18 + d] = Close.Round(values.Get()[i], cacheType);
                }

                Assert.Equal(expected, memory.Get());
                memory.AssertUntouchedAround();
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void RowOperators_InPlace_GiveTheBitsOfTheirTwoBufferForm(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        float[] numbers = Numbers.Uniform(13, 5 * 70, 2), others = Numbers.Uniform(14, 5 * 70, 2);
        using var weight = new GuardedMatrix(device, DType.F32, 1, 70, Numbers.Uniform(15, 70));
        using GuardedMatrix x = New(numbers), y = New(others), apart = New(others), inPlace = New(numbers);

        device.Operators.RmsNorm(x, weight, 1e-6f, apart);
        device.Operators.RmsNorm(inPlace, weight, 1e-6f, inPlace);
        Close.AssertSameBits(apart.Get(), inPlace.Get());

        inPlace.Set(numbers);
        device.Operators.SiluMul(x, y, apart);
        device.Operators.SiluMul(inPlace, y, inPlace);
        Close.AssertSameBits(apart.Get(), inPlace.Get());
        inPlace.Set(others);
        device.Operators.SiluMul(x, inPlace, inPlace);
        Close.AssertSameBits(apart.Get(), inPlace.Get());

        using GuardedMatrix residual = New(others), sameResidual = New(others);
        inPlace.Set(numbers);
        device.Operators.AddRmsNorm(x, residual, weight, 1e-6f, apart);
        device.Operators.AddRmsNorm(inPlace, sameResidual, weight, 1e-6f, inPlace);
        Close.AssertSameBits(apart.Get(), inPlace.Get());
        Close.AssertSameBits(residual.Get(), sameResidual.Get());

        GuardedMatrix New(float[] values) => new(device, DType.F32, 5, 70, values);
    }

    [Fact]
    public void RowOperators_AnyBatchThreadsAndInstructionSet_GiveTheSameBits()
    {
        const int rows = 24, columns = 1540;
        float[] a = Numbers.Uniform(20, rows * columns, 4), b = Numbers.Uniform(21, rows * columns, 4);
        float[]? expected = null;
        foreach (CpuDeviceOptions options in Devices.CpuVariants)
        {
            using Device device = Device.OpenCpu(options);
            float[] together = RunAll(device, a, b, columns);
            expected ??= together;
            Close.AssertSameBits(expected, together);
            for (int row = 0; row < rows; row += 11)
            {
                float[] alone = RunAll(device, a[(row * columns)..((row + 1) * columns)], b[(row * columns)..((row + 1) * columns)], columns);
                for (int op = 0; op < 5; op++)
                    Close.AssertSameBits(together.AsSpan((op * rows + row) * columns, columns), alone.AsSpan(op * columns, columns));
            }
        }
    }

    [Fact]
    public void RowOperators_BadIndices_SayWhatIsWrong()
    {
        Device device = Devices.Open(Devices.Names[0]);
        var format = new KvFormat(4, 1, 16, DType.F32);
        using GuardedMatrix x = new(device, DType.F32, 1, 16), cache = new(device, DType.F32, 2 * format.RowsPerBlock, 16);
        foreach (int index in (int[])[-1, 8])
        {
            using DeviceBuffer indices = device.Upload<int>([index]);
            AssertNames("row", () => device.Operators.Embed(indices.AsSpan<int>(), cache.Matrix.SliceRows(0, 8), x));
            AssertNames("position", () => device.Operators.Rope(x, indices.AsSpan<int>(), cache.Matrix.SliceRows(0, 8)));
            AssertNames("slot", () => device.Operators.AppendKv(x, x, indices.AsSpan<int>(), new KvLayer(cache, format)));

            void AssertNames(string word, Action call)
            {
                string message = Assert.Throws<ArgumentException>(call).Message;
                Assert.Contains($"{word} {index}", message);
                Assert.Contains("8", message);
            }
        }
    }

    [Fact]
    public void RowOperators_BadShapes_NameWhatWasExpectedAndGiven()
    {
        Device device = Devices.Open(Devices.Names[0]);
        Operators operators = device.Operators;
        using GuardedMatrix x = new(device, DType.F32, 3, 16), other = new(device, DType.F16, 3, 15), weight = new(device, DType.F32, 1, 16);
        using DeviceBuffer two = device.Upload<int>([0, 0]);
        AssertSays("F16[3, 15], expected [3, 16]", () => operators.RmsNorm(x, weight, 0, other));
        AssertSays("F32[3, 16], expected [1, 16]", () => operators.RmsNorm(x, x, 0, x));
        AssertSays("F16[3, 15], expected [3, 16]", () => operators.AddRmsNorm(x, other, weight, 0, x));
        AssertSays("F16[3, 15], expected [3, 16]", () => operators.SiluMul(x, other, x));
        AssertSays("positions has 2 elements, expected 3", () => operators.Rope(x, two.AsSpan<int>(), x));
        AssertSays("angles is F16[3, 15], expected F32[positions, even head_dim]", () => operators.Rope(x.Matrix.SliceRows(0, 2), two.AsSpan<int>(), other));
        AssertSays("result is F32[3, 16], expected [2, 16]", () => operators.Embed(two.AsSpan<int>(), x, x));
        AssertSays("result has 2 elements, expected 3", () => operators.ArgMax(x, two.AsSpan<int>()));
        AssertSays("logits is F16[3, 15], expected F32", () => operators.LogProbs(other, two.AsSpan<int>(), default, default, default));

        static void AssertSays(string part, Action call) => Assert.Contains(part, Assert.Throws<ArgumentException>(call).Message);
    }

    /// <summary>Five row-wise results, one after the other.</summary>
    private static float[] RunAll(Device device, float[] a, float[] b, int columns)
    {
        int rows = a.Length / columns;
        using var x = new GuardedMatrix(device, DType.BF16, rows, columns, a);
        using var y = new GuardedMatrix(device, DType.F32, rows, columns, b);
        using var weight = new GuardedMatrix(device, DType.F16, 1, columns, Numbers.Uniform(22, columns));
        using var angles = new GuardedMatrix(device, DType.F32, 1, 44, Numbers.Uniform(23, 44));
        using DeviceBuffer zeros = device.Upload<int>(new int[rows]);
        GuardedMatrix[] results = [.. Enumerable.Range(0, 3).Select(_ => new GuardedMatrix(device, DType.F32, rows, columns))];
        device.Operators.RmsNorm(x, weight, 1e-5f, results[0]);
        device.Operators.SiluMul(x, y, results[1]);
        device.Operators.AddRmsNorm(x, y, weight, 1e-5f, results[2]);
        device.Operators.Rope(x, zeros.AsSpan<int>(), angles);
        float[] all = [.. results.SelectMany(r => r.Get()), .. y.Get(), .. x.Get()];
        foreach (GuardedMatrix result in results) result.Dispose();
        return all;
    }

    /// <summary>Calls the case with every width and every pair of types among its three places.</summary>
    private static void ForTypes(Action<DType, DType, DType, int> run)
    {
        DType[] types = Numbers.FloatTypes;
        for (int i = 0; i < 9; i++)
            foreach (int columns in Widths) run(types[i / 3], types[i % 3], types[(i + i / 3) % 3], columns);
    }

    private static void AssertNormalized(float[] x, float[] weight, GuardedMatrix result)
    {
        int columns = weight.Length;
        var expected = new double[x.Length];
        for (int i = 0; i < x.Length; i++)
        {
            double mean = x.Skip(i / columns * columns).Take(columns).Sum(v => (double)v * v) / columns;
            expected[i] = x[i] / Math.Sqrt(mean + Epsilon) * weight[i % columns];
        }

        Close.AssertEqual(expected, result.Get(), i => Close.Bound(result.Matrix.DType, expected[i], columns, Math.Abs(expected[i])));
        result.AssertUntouchedAround();
    }
}
