namespace KernelForge.Tests;

/// <summary>RmsNorm, AddRmsNorm, SiluMul and Embed against their definitions, on strided rows of all type combinations.</summary>
public sealed class RowOperatorTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const float Epsilon = 0.125f; // large enough to be seen

    /// <summary>Around one vector and one pass of a block; the first and last are whole vectors, whose rows <see cref="Gap"/> keeps aligned.</summary>
    private static readonly int[] Widths = [16, 1, 15, 17, 33, 64, 130, 2049, 2056];

    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RmsNorm_AllTypes_EqualsTheDefinition(string deviceName)
    {
        Device device = devices.Open(deviceName);
        ForTypes(deviceName, (a, b, c, columns) =>
        {
            using var x = new GuardedMatrix(device, a, 3, columns, Numbers.Uniform(1, 3 * columns, 3), Gap(columns));
            using var weight = new GuardedMatrix(device, b, 1, columns, Numbers.Uniform(2, columns));
            using var result = new GuardedMatrix(device, c, 3, columns, 2 * Gap(columns));
            device.Operators.RmsNorm(x, weight, Epsilon, result);
            AssertNormalized(x.Get(), weight.Get(), result);
        });
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void AddRmsNorm_AllTypes_UpdatesResidualAndNormalizesTheStoredSum(string deviceName)
    {
        Device device = devices.Open(deviceName);
        ForTypes(deviceName, (a, b, c, columns) =>
        {
            using var x = new GuardedMatrix(device, a, 3, columns, Numbers.Uniform(3, 3 * columns, 3), Gap(columns));
            using var residual = new GuardedMatrix(device, b, 3, columns, Numbers.Uniform(4, 3 * columns, 100), 3 * Gap(columns));
            using var weight = new GuardedMatrix(device, a, 1, columns, Numbers.Uniform(5, columns));
            using var result = new GuardedMatrix(device, c, 3, columns, 2 * Gap(columns));
            float[] sums = [.. x.Get().Zip(residual.Get(), (p, q) => Close.Round(p + q, b))];
            device.Operators.AddRmsNorm(x, residual, weight, Epsilon, result);
            Close.AssertSameBits(sums, residual.Get());
            residual.AssertUntouchedAround();
            AssertNormalized(sums, weight.Get(), result);
        });
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SiluMul_AllTypes_EqualsTheDefinition(string deviceName)
    {
        Device device = devices.Open(deviceName);
        ForTypes(deviceName, (a, b, c, columns) =>
        {
            using var gate = new GuardedMatrix(device, a, 2, columns, Numbers.Uniform(6, 2 * columns, 30), Gap(columns));
            using var up = new GuardedMatrix(device, b, 2, columns, Numbers.Uniform(7, 2 * columns, 3));
            using var result = new GuardedMatrix(device, c, 2, columns, 2 * Gap(columns));
            device.Operators.SiluMul(gate, up, result);
            double[] expected = [.. gate.Get().Zip(up.Get(), (g, u) => g / (1 + Math.Exp(-(double)g)) * u)];
            Close.AssertEqual(expected, result.Get(), i => Close.Bound(c, expected[i], 4, Math.Abs(expected[i])));
            result.AssertUntouchedAround();
        });
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SiluMul_ExtremeGates_Saturates(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            float extreme = Close.Round(type == DType.F16 ? 30_000f : 1e30f, type);
            using var gate = new GuardedMatrix(device, type, 1, 5, [-extreme, -200f, 0f, 200f, extreme]);
            using var up = new GuardedMatrix(device, type, 1, 5, [2f, 2f, 2f, 2f, 2f]);
            device.Operators.SiluMul(gate, up, gate);
            Assert.Equal([0f, 0f, 0f, 400f, 2 * extreme], gate.Get());
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Embed_AllTypes_CopiesOrConvertsRows(string deviceName)
    {
        Device device = devices.Open(deviceName);
        int[] rows = [2, 0, 3, 3];
        using DeviceBuffer rowBuffer = device.Upload<int>(rows);
        ForTypes(deviceName, AssertEmbeds);
        if (Devices.IsCuda(deviceName)) AssertEmbeds(DType.F32, DType.F32, DType.F32, 21); // logits, whose rows log-probabilities gather

        void AssertEmbeds(DType a, DType b, DType c, int columns)
        {
            using var table = new GuardedMatrix(device, a, 4, columns, Numbers.Uniform(10, 4 * columns, 3), 2 * Gap(columns));
            using var result = new GuardedMatrix(device, c, 4, columns, Gap(columns));
            device.Operators.Embed(rowBuffer.AsSpan<int>(), table, result);
            float[] all = table.Get();
            float[] expected = [.. rows.SelectMany(row => all[(row * columns)..((row + 1) * columns)]).Select(v => Close.Round(v, c))];
            Close.AssertSameBits(expected, result.Get());
            result.AssertUntouchedAround();
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RowOperators_InPlace_GiveTheBitsOfTheirTwoBufferForm(string deviceName)
    {
        Device device = devices.Open(deviceName);
        DType type = Devices.FloatTypes(deviceName)[0];
        float[] numbers = Numbers.Uniform(13, 5 * 70, 2), others = Numbers.Uniform(14, 5 * 70, 2);
        using var weight = new GuardedMatrix(device, type, 1, 70, Numbers.Uniform(15, 70));
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

        GuardedMatrix New(float[] values) => new(device, type, 5, 70, values);
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void RowOperators_RowOfAShuffledBatch_HasTheBitsOfTheRowAlone(string deviceName)
    {
        const int rows = 7, columns = 2060;
        Device device = devices.Open(deviceName);
        int[] order = [.. Enumerable.Range(0, rows)];
        new Random(4).Shuffle(order);
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            float[][] a = [.. order.Select(row => Numbers.Uniform(30 + row, columns, 4))], b = [.. order.Select(row => Numbers.Uniform(40 + row, columns, 4))];
            float[][] together = Run([.. a.SelectMany(row => row)], [.. b.SelectMany(row => row)], gap: 0); // 2060 is no multiple of 8: rows that are not aligned
            for (int row = 0; row < rows; row++)
            {
                float[][] alone = Run(a[row], b[row], gap: 4);
                for (int i = 0; i < alone.Length; i++) Close.AssertSameBits(together[i].AsSpan(row * columns, columns), alone[i]);
            }

            float[][] Run(float[] xs, float[] ys, int gap)
            {
                using GuardedMatrix x = new(device, type, xs.Length / columns, columns, xs, gap), y = new(device, type, xs.Length / columns, columns, ys, gap);
                using GuardedMatrix weight = new(device, type, 1, columns, Numbers.Uniform(22, columns)), result = new(device, type, xs.Length / columns, columns, gap);
                device.Operators.SiluMul(x, y, result);
                float[] gated = result.Get();
                device.Operators.RmsNorm(x, weight, 1e-5f, result);
                float[] normalized = result.Get();
                device.Operators.AddRmsNorm(x, y, weight, 1e-5f, result);
                return [gated, normalized, result.Get(), y.Get()];
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void SiluMul_OnCuda_HasTheBitsOfTheCpu(string deviceName)
    {
        float[] gates = Numbers.Uniform(16, 4000, 100), ups = Numbers.Uniform(17, 4000, 3);
        foreach (DType type in Devices.FloatTypes(deviceName)) Close.AssertSameBits(Run(Device.Cpu, type), Run(devices.Open(deviceName), type));

        float[] Run(Device device, DType type)
        {
            using GuardedMatrix gate = new(device, type, 4, 1000, gates), up = new(device, type, 4, 1000, ups);
            device.Operators.SiluMul(gate, up, gate);
            return gate.Get();
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void RowOperators_TypesThatCudaDoesNotTake_SayWhatItTakes(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using GuardedMatrix half = new(device, DType.F16, 1, 8), brain = new(device, DType.BF16, 1, 8), single = new(device, DType.F32, 1, 8);
        using DeviceBuffer zero = device.Upload<int>([0]);
        AssertSays("F16 or BF16", () => device.Operators.RmsNorm(single, single, 0, single));
        AssertSays("F16[1, 8] and BF16[1, 8]", () => device.Operators.RmsNorm(half, brain, 0, half));
        AssertSays("F16[1, 8] and F32[1, 8]", () => device.Operators.AddRmsNorm(half, single, half, 0, half));
        AssertSays("BF16[1, 8] and F16[1, 8]", () => device.Operators.SiluMul(brain, brain, half));
        AssertSays("F32[1, 8] and F16[1, 8]", () => device.Operators.Embed(zero.AsSpan<int>(), single, half));

        static void AssertSays(string part, Action call) => Assert.Contains(part, Assert.Throws<ArgumentException>(call).Message);
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
        Device device = devices.Open(Devices.CpuNames[0]);
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
        Device device = devices.Open(Devices.CpuNames[0]);
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

    /// <summary>
    /// Calls the case with every width and the types that the device takes: on the CPU every pair among the three places, on CUDA one type for all.
    /// </summary>
    private static void ForTypes(string deviceName, Action<DType, DType, DType, int> run)
    {
        DType[] types = Devices.FloatTypes(deviceName);
        foreach (int columns in Widths)
        {
            if (Devices.IsCuda(deviceName)) Array.ForEach(types, type => run(type, type, type, columns));
            else for (int i = 0; i < 9; i++) run(types[i / 3], types[i % 3], types[(i + i / 3) % 3], columns);
        }
    }

    /// <summary>Elements between rows: rows of whole vectors stay aligned, others get all alignments.</summary>
    private static int Gap(int columns) => columns % 8 == 0 ? 8 : 1;

    private static void AssertNormalized(float[] x, float[] weight, GuardedMatrix result)
    {
        int columns = weight.Length;
        var expected = new double[x.Length];
        for (int start = 0; start < x.Length; start += columns)
        {
            double mean = x.Skip(start).Take(columns).Sum(v => (double)v * v) / columns;
            for (int i = 0; i < columns; i++) expected[start + i] = x[start + i] / Math.Sqrt(mean + Epsilon) * weight[i];
        }

        Close.AssertEqual(expected, result.Get(), i => Close.Bound(result.Matrix.DType, expected[i], columns, Math.Abs(expected[i])));
        result.AssertUntouchedAround();
    }
}
