namespace KernelForge.Tests;

public sealed class SampleTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    private static readonly SamplingRow Plain = new(Seed: 1, Position: 0, Temperature: 1, TopK: 0, TopP: 1, MinP: 0);

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Sample_ManyPositions_FollowsTheSoftmax(string deviceName)
    {
        float[] logits = [1.5f, 0f, -1f, 2f, 0.5f, 0.5f, -3f, 1f, 0f, -0.5f, 1.2f, 0.1f, 0.2f, 0.3f, 0.4f, -0.4f, 1f, 0.6f, -6f];
        foreach (SamplingRow settings in (SamplingRow[])[Plain, Plain with { Temperature = 0.7f, Seed = 77 }, Plain with { TopK = 5 }, Plain with { TopP = 0.8f, Temperature = 2 }])
        {
            double[] probabilities = ReferenceSampling.Probabilities(logits, settings.Temperature, settings.TopK, settings.TopP, settings.MinP);
            ChiSquare.AssertFollows(probabilities, Draw(deviceName, logits, [.. Enumerable.Range(0, Draws(deviceName)).Select(p => settings with { Position = p })]));
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Sample_ManySeeds_FollowsTheSoftmax(string deviceName)
    {
        float[] logits = [1f, 0f, 2f, 1f];
        SamplingRow[] rows = [.. Enumerable.Range(0, Draws(deviceName)).Select(s => Plain with { Seed = (ulong)s << 30, Position = 3 })];
        ChiSquare.AssertFollows(ReferenceSampling.Probabilities(logits, 1, 0, 1, 0), Draw(deviceName, logits, rows));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Sample_Filters_LeaveExactlyTheirTokens(string deviceName)
    {
        float[] logits = [.. Numbers.Uniform(5, 60, 2).Select(v => MathF.Round(v * 2) / 2)]; // with many ties
        SamplingRow[] cases =
        [
            Plain with { TopK = 1 }, Plain with { TopK = 7 }, Plain with { TopK = 59 }, Plain with { TopK = 100 }, Plain with { TopP = 0.05f },
            Plain with { TopP = 0.5f }, Plain with { TopP = 0.99f }, Plain with { MinP = 0.3f }, Plain with { MinP = 1 }, Plain with { TopP = 0 },
            Plain with { TopK = 20, TopP = 0.7f, MinP = 0.4f }, Plain with { TopK = 9, TopP = 0.9f, Temperature = 3 },
            Plain with { TopP = 0.6f, Temperature = 50 }, Plain with { TopP = 0.9f, Temperature = 0.05f },
        ];
        foreach (SamplingRow settings in cases)
        {
            double[] probabilities = ReferenceSampling.Probabilities(logits, settings.Temperature, settings.TopK, settings.TopP, settings.MinP);
            int draws = Draws(deviceName) / 4;
            HashSet<int> drawn = [.. Draw(deviceName, logits, [.. Enumerable.Range(0, draws).Select(p => settings with { Position = p })])];
            for (int i = 0; i < logits.Length; i++)
            {
                bool expected = probabilities[i] > 0;
                if (expected == drawn.Contains(i)) continue;
                if (!expected || probabilities[i] > 15.0 / draws) Assert.Fail($"{settings}: token {i} {(expected ? "was not" : "was")} drawn"); // by chance once in e^15
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Sample_TemperatureZero_IsArgMax(string deviceName)
    {
        float[] logits = [1f, 5f, -2f, 5f, float.NaN];
        Assert.Equal([1, 1], Draw(deviceName, logits, [Plain with { Temperature = 0 }, Plain with { Temperature = 0, TopK = 3, Seed = 9 }]));
        Assert.Equal([1, 3], Draw(deviceName, logits, [.. Enumerable.Range(0, 100).Select(p => Plain with { Temperature = 1e-30f, Position = p })]).Distinct().Order());
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Sample_ForbiddenAndNaNTokens_AreNeverDrawn(string deviceName)
    {
        float[] logits = [float.NegativeInfinity, 0f, float.NaN, float.NegativeInfinity, -30f];
        foreach (SamplingRow settings in (SamplingRow[])[Plain with { Temperature = 20 }, Plain with { Temperature = 20, TopP = 0.999f }, Plain with { TopK = 4, Temperature = 20 }])
        {
            int[] drawn = Draw(deviceName, logits, [.. Enumerable.Range(0, 150).Select(p => settings with { Position = p })]);
            Assert.Equal([1, 4], drawn.Distinct().Order());
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Sample_OneRow_DoesNotDependOnTheBatchOrTheInstructionSet(string deviceName)
    {
        const int vocabulary = 1003;
        float[] all = Numbers.Uniform(3, 40 * vocabulary, 4);
        SamplingRow[] rows = [.. Enumerable.Range(0, 40).Select(i => new SamplingRow((ulong)(i * 7919), i, 0.5f + i % 3, i % 4 * 50, i % 5 == 0 ? 0.9f : 1, i % 7 == 0 ? 0.1f : 0))];
        int[] together = DrawRows(deviceName, all, rows);
        for (int i = 0; i < rows.Length; i++)
            Assert.Equal(together[i], DrawRows(deviceName, all[(i * vocabulary)..((i + 1) * vocabulary)], [rows[i]])[0]);
        Assert.Equal(DrawRows(Devices.CpuNames[0], all, rows), together);
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void Sample_OnCuda_DrawsTheTokensOfTheCpu(string deviceName)
    {
        var random = new Random(11);
        foreach (int vocabulary in (int[])[1, 2, 31, 500])
        {
            const int rows = 60;
            // Every other row on a coarse grid, so that there are ties at the edges of the filters; some tokens are forbidden or NaN.
            float[] logits = [.. Numbers.Uniform(vocabulary, rows * vocabulary, 5).Select((v, i) =>
                random.Next(20) == 0 ? (random.Next(2) == 0 ? float.NaN : float.NegativeInfinity) : i / vocabulary % 2 == 0 ? v : MathF.Round(v))];
            SamplingRow[] settings = [.. Enumerable.Range(0, rows).Select(_ => new SamplingRow(
                (ulong)random.NextInt64(), random.Next(100_000), random.Next(6) == 0 ? 0 : random.NextSingle() * 3,
                random.Next(2) * random.Next(vocabulary + 3), random.Next(3) switch { 0 => 1, 1 => random.NextSingle(), _ => 0.25f * random.Next(5) },
                random.Next(3) == 0 ? random.NextSingle() * 0.5f : 0))];
            Assert.Equal(DrawRows(Devices.CpuNames[^1], logits, settings), DrawRows(deviceName, logits, settings));
        }
    }

    [Fact]
    public void Sample_BadSettings_SaysWhatIsWrong()
    {
        foreach (SamplingRow settings in (SamplingRow[])[Plain with { Temperature = -1 }, Plain with { TopP = 1.5f }, Plain with { TopK = -1 }, Plain with { MinP = float.NaN }])
        {
            var error = Assert.Throws<ArgumentException>(() => Draw(Devices.CpuNames[0], [1f, 2f], [settings]));
            Assert.Contains("Sample", error.Message);
        }
    }

    /// <summary>An emulated device draws a thousandth as fast as the CPU.</summary>
    private static int Draws(string deviceName) => Devices.IsCuda(deviceName) ? 400 : 5_000;

    /// <summary>Draws once per settings, all from the same logits.</summary>
    private int[] Draw(string deviceName, float[] logits, SamplingRow[] rows)
    {
        using var oneRow = new GuardedMatrix(devices.Open(deviceName), DType.F32, 1, logits.Length, logits);
        using DeviceBuffer memory = devices.Open(deviceName).Wrap(oneRow.Matrix.Address, DType.F32, logits.Length);
        return Draw(deviceName, new DeviceMatrix(memory, 0, rows.Length, logits.Length, rowStride: 0, DType.F32), rows);
    }

    private int[] DrawRows(string deviceName, float[] logits, SamplingRow[] rows)
    {
        using DeviceBuffer buffer = devices.Open(deviceName).Upload<float>(logits);
        return Draw(deviceName, buffer.AsMatrix(rows.Length, logits.Length / rows.Length), rows);
    }

    private unsafe int[] Draw(string deviceName, DeviceMatrix logits, SamplingRow[] rows)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer settings = device.Allocate(DType.I8, rows.Length * sizeof(SamplingRow)), result = device.Allocate(DType.I32, rows.Length);
        var settingsSpan = new DeviceSpan<SamplingRow>(settings, 0, rows.Length);
        settingsSpan.CopyFrom(rows);
        device.Operators.Sample(logits, settingsSpan, result.AsSpan<int>());
        return result.AsSpan<int>().ToArray();
    }
}
