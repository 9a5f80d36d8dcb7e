namespace KernelForge.Tests;

/// <summary>ArgMax, AdjustLogits and LogProbs.</summary>
public sealed class LogitTests
{
    public static TheoryData<string> All => Devices.All;

    [Theory]
    [MemberData(nameof(All))]
    public void ArgMax_TiesAndNaN_GivesTheFirstLargestNumber(string deviceName)
    {
        const float nan = float.NaN, low = float.NegativeInfinity;
        (float[] Row, int Expected)[] cases =
        [
            ([3], 0), ([1, 2, 2], 1), ([nan, 1, nan], 1), ([nan, nan, nan], 0), ([nan, low, nan], 1), ([low, low, low], 0),
            ([-5, -4, -6], 1), ([-0f, 0f, -0f], 0), ([1, float.PositiveInfinity, float.PositiveInfinity], 1),
            ([.. Enumerable.Repeat(1f, 40)], 0), ([.. Enumerable.Range(0, 35).Select(i => (float)i)], 34), ([.. Enumerable.Range(0, 35).Select(i => -2f - i)], 0),
            ([.. Enumerable.Range(0, 100).Select(i => i is 31 or 83 ? 7f : i % 7)], 31),
        ];
        Device device = Devices.Open(deviceName);
        foreach ((float[] row, int expected) in cases)
        {
            foreach (DType type in Numbers.FloatTypes)
            {
                using var logits = new GuardedMatrix(device, type, 2, row.Length, [.. row, .. row], gap: 3);
                using DeviceBuffer result = device.Upload<int>([-1, -1]);
                device.Operators.ArgMax(logits, result.AsSpan<int>());
                Assert.Equal([expected, expected], result.AsSpan<int>().ToArray());
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void AdjustLogits_PenaltiesAndBiases_ChangesNamedLogitsOnly(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        using var logits = new GuardedMatrix(device, DType.F32, 2, 3, [4f, -4f, 1f, 2f, 0f, -1f], gap: 2);
        using DeviceBuffer changes = device.Allocate(DType.I8, 4 * 16);
        var adjustments = new DeviceSpan<LogitAdjustment>(changes, 0, 4);
        adjustments.CopyFrom([new(0, 0, 2, 0.5f), new(0, 1, 2, 0), new(1, 2, 1, float.NegativeInfinity), new(1, 0, 1, 3)]);
        device.Operators.AdjustLogits(logits, adjustments);
        Assert.Equal([2.5f, -8f, 1f, 5f, 0f, float.NegativeInfinity], logits.Get());
        logits.AssertUntouchedAround();

        adjustments.Slice(0, 1).CopyFrom([new LogitAdjustment(0, 3, 1, 0)]);
        var error = Assert.Throws<ArgumentException>(() => device.Operators.AdjustLogits(logits, adjustments));
        Assert.Contains("token 3", error.Message);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void LogProbs_OddWidths_EqualsTheDefinition(string deviceName)
    {
        Device device = Devices.Open(deviceName);
        foreach (int columns in (int[])[1, 5, 16, 40, 1000])
        {
            foreach (int top in (int[])[0, 1, 5, 37])
            {
                if (top > columns) continue;
                float[] values = [.. Numbers.Uniform(columns, 2 * columns, 8).Select(v => MathF.Round(v * 4) / 4)]; // with ties
                using var logits = new GuardedMatrix(device, DType.F32, 2, columns, values, gap: 1);
                using DeviceBuffer chosen = device.Upload<int>([columns - 1, columns / 2]), chosenLogProbs = device.Upload<float>([9, 9]);
                using DeviceBuffer tokens = device.Allocate(DType.I32, 2 * top), logProbs = device.Allocate(DType.F32, 2 * top);
                device.Operators.LogProbs(logits, chosen.AsSpan<int>(), chosenLogProbs.AsSpan<float>(), tokens.AsSpan<int>(), logProbs.AsSpan<float>());

                for (int row = 0; row < 2; row++)
                {
                    double[] expected = ReferenceSampling.LogSoftmax(values.AsSpan(row * columns, columns));
                    int token = row == 0 ? columns - 1 : columns / 2;
                    Close.AssertEqual([expected[token]], [chosenLogProbs.AsSpan<float>().ToArray()[row]], _ => 4e-6);
                    int[] best = [.. Enumerable.Range(0, columns).OrderByDescending(i => values[row * columns + i]).ThenBy(i => i).Take(top)];
                    Assert.Equal(best, tokens.AsSpan<int>().Slice(row * top, top).ToArray());
                    Close.AssertEqual([.. best.Select(i => expected[i])], logProbs.AsSpan<float>().Slice(row * top, top).ToArray(), _ => 4e-6);
                }
            }
        }
    }
}
