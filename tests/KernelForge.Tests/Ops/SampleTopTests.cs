namespace KernelForge.Tests;

public sealed class SampleTopTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const float Never = float.NegativeInfinity;

    private static readonly SamplingRow Plain = new(Seed: 3, Position: 0, Temperature: 1, TopK: 0, TopP: 1, MinP: 0);

    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    /// <summary>The next token is the one that Sample draws when those before are forbidden, and tokens that the filters take away from the start.</summary>
    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SampleTop_Filters_GivesTheDrawsThatRemain(string deviceName)
    {
        foreach (int columns in (int[])[1, 5, 16, 40])
        {
            int count = Math.Min(columns, 7);
            SamplingRow[] rows =
            [
                Plain, Plain with { Temperature = 0.7f, Position = 1 }, Plain with { TopK = 3, Position = 2 }, Plain with { TopK = 1 }, Plain with { TopP = 0.5f, Position = 4 },
                Plain with { MinP = 0.2f, Position = 5 }, Plain with { TopK = 20, TopP = 0.9f, MinP = 0.02f, Position = 6 }, Plain with { Seed = 77, TopP = 0 },
            ];
            float[] logits = Numbers.Uniform(columns, rows.Length * columns, 2);
            int[] drawn = Draw(deviceName, logits, rows, count);
            for (int row = 0; row < rows.Length; row++)
            {
                float[] left = logits[(row * columns)..((row + 1) * columns)];
                double[] probabilities = ReferenceSampling.Probabilities(left, rows[row].Temperature, rows[row].TopK, rows[row].TopP, rows[row].MinP);
                for (int i = 0; i < columns; i++)
                    if (probabilities[i] == 0) left[i] = Never;
                for (int i = 0; i < count; i++)
                {
                    int next = left.Max() == Never ? -1 : Draw(deviceName, left, [rows[row] with { TopK = 0, TopP = 1, MinP = 0 }], 0)[0];
                    Assert.Equal(next, drawn[row * count + i]);
                    if (next >= 0) left[next] = Never;
                }
            }
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SampleTop_TemperatureZero_GivesTheLargestLogits(string deviceName)
    {
        SamplingRow greedy = Plain with { Temperature = 0, TopK = 1 };
        float[] logits = [1, 5, float.NaN, 5, -2, Never, 3];
        Assert.Equal([1, 3, 6, 0, 4, -1, -1], Draw(deviceName, logits, [greedy], 7));
        Assert.Equal([1, 3], Draw(deviceName, logits, [greedy], 2));
        Assert.Equal([3, 0, 1, 2], Draw(deviceName, [1, 1, 0, float.PositiveInfinity], [Plain], 4));
        Assert.Equal([1, -1, -1], Draw(deviceName, [float.NaN, Never, Never], [Plain], 3));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SampleTop_ForbiddenAndNaNTokens_AreNeverGiven(string deviceName)
    {
        float[] logits = [Never, 0, float.NaN, Never, -30];
        Assert.Equal([1, 4], Draw(deviceName, logits, [Plain], 5)[..2].Order());
        Assert.Equal([-1, -1, -1], Draw(deviceName, logits, [Plain with { TopK = 4, Temperature = 20 }], 5)[2..]);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void SampleTop_TheFirst_IsTheTokenOfSample(string deviceName)
    {
        (float[] logits, SamplingRow[] rows) = RandomRows(1, 60, 203);
        int[] top = Draw(deviceName, logits, rows, 3), sampled = Draw(deviceName, logits, rows, 0);
        Assert.Equal(sampled, Enumerable.Range(0, 60).Select(row => top[3 * row]));
        Assert.Equal(Draw(Devices.CpuNames[0], logits, rows, 3), top);
        Assert.Equal(top[..3], Draw(deviceName, logits[..203], rows[..1], 3));
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void SampleTop_OnCuda_GivesTheTokensOfTheCpu(string deviceName)
    {
        foreach ((int vocabulary, int count) in ((int, int)[])[(1, 1), (2, 2), (31, 31), (300, 4)])
        {
            (float[] logits, SamplingRow[] rows) = RandomRows(vocabulary, 40, vocabulary);
            Assert.Equal(Draw(Devices.CpuNames[^1], logits, rows, count), Draw(deviceName, logits, rows, count));
        }
    }

    [Fact]
    public void SampleTop_BadArguments_SaysWhatIsWrong()
    {
        string cpu = Devices.CpuNames[0];
        Assert.Contains("room for 3 tokens", Assert.Throws<ArgumentException>(() => Draw(cpu, [1, 2], [Plain], 3)).Message);
        Assert.Contains("SampleTop", Assert.Throws<ArgumentException>(() => Draw(cpu, [1, 2], [Plain with { TopP = 2 }], 1)).Message);
    }

    private static (float[] Logits, SamplingRow[] Rows) RandomRows(int seed, int rows, int vocabulary)
    {
        var random = new Random(seed);
        float[] logits = [.. Numbers.Uniform(seed, rows * vocabulary, 4).Select((v, i) =>
            random.Next(20) == 0 ? (random.Next(2) == 0 ? float.NaN : Never) : i / vocabulary % 2 == 0 ? v : MathF.Round(v))];
        return (logits, [.. Enumerable.Range(0, rows).Select(i => new SamplingRow(
            (ulong)(i * 7919), i, random.Next(5) == 0 ? 0 : 0.2f + 2 * random.NextSingle(), i % 4 * 9, i % 5 == 0 ? 0.9f : 1, i % 7 == 0 ? 0.1f : 0))]);
    }

    /// <summary>SampleTop, or Sample where the count is 0.</summary>
    private unsafe int[] Draw(string deviceName, float[] logits, SamplingRow[] rows, int count)
    {
        Device device = devices.Open(deviceName);
        using var matrix = new GuardedMatrix(device, DType.F32, rows.Length, logits.Length / rows.Length, logits, gap: 3);
        using DeviceBuffer settings = device.Allocate(DType.I8, rows.Length * sizeof(SamplingRow));
        using var result = new GuardedMatrix(device, DType.I32, 1, rows.Length * Math.Max(count, 1));
        var span = new DeviceSpan<SamplingRow>(settings, 0, rows.Length);
        span.CopyFrom(rows);
        if (count == 0) device.Operators.Sample(matrix, span, result.Span<int>());
        else device.Operators.SampleTop(matrix, span, result.Span<int>());
        result.AssertUntouchedAround();
        return result.Span<int>().ToArray();
    }
}
