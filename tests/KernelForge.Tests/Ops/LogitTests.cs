namespace KernelForge.Tests;

/// <summary>ArgMax, AdjustLogits and LogProbs.</summary>
public sealed class LogitTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string> All => Devices.All;

    [DeviceTheory]
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
        Device device = devices.Open(deviceName);
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

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void AdjustLogits_PenaltiesAndBiases_ChangesNamedLogitsOnly(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using var logits = new GuardedMatrix(device, DType.F32, 2, 3, [4f, -4f, 1f, 2f, 0f, -1f], gap: 2);
        using DeviceBuffer changes = device.Allocate(DType.I8, 4 * 16);
        var adjustments = new DeviceSpan<LogitAdjustment>(changes, 0, 4);
        adjustments.CopyFrom([new(0, 0, 2, 0.5f), new(0, 1, 2, 0), new(1, 2, 1, float.NegativeInfinity), new(1, 0, 1, 3)]);
        device.Operators.AdjustLogits(logits, adjustments);
        Assert.Equal([2.5f, -8f, 1f, 5f, 0f, float.NegativeInfinity], logits.Get());
        logits.AssertUntouchedAround();

        if (Devices.IsCuda(deviceName)) return; // indices in its memory are not read by the host
        adjustments.Slice(0, 1).CopyFrom([new LogitAdjustment(0, 3, 1, 0)]);
        var error = Assert.Throws<ArgumentException>(() => device.Operators.AdjustLogits(logits, adjustments));
        Assert.Contains("token 3", error.Message);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void LogProbs_OddWidths_EqualsTheDefinition(string deviceName)
    {
        Device device = devices.Open(deviceName);
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

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void LogProbs_ForbiddenAndNaNTokens_HaveNoProbability(string deviceName)
    {
        const float none = float.NegativeInfinity;
        Device device = devices.Open(deviceName);
        using var logits = new GuardedMatrix(device, DType.F32, 1, 5, [none, 1f, float.NaN, 1f, none]);
        using DeviceBuffer chosen = device.Upload<int>([0]), chosenLogProb = device.Upload<float>([9]);
        using DeviceBuffer tokens = device.Allocate(DType.I32, 5), logProbs = device.Allocate(DType.F32, 5);
        device.Operators.LogProbs(logits, chosen.AsSpan<int>(), chosenLogProb.AsSpan<float>(), tokens.AsSpan<int>(), logProbs.AsSpan<float>());

        Assert.Equal([none], chosenLogProb.AsSpan<float>().ToArray());
        Assert.Equal([1, 3, 0, 2, 4], tokens.AsSpan<int>().ToArray()); // NaN counts as negative infinity
        Close.AssertEqual([-Math.Log(2), -Math.Log(2), none, none, none], logProbs.AsSpan<float>().ToArray(), _ => 4e-6);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void LogProbs_RowOfABatch_HasTheBitsOfTheRowAlone(string deviceName)
    {
        const int columns = 1003, top = 3;
        Device device = devices.Open(deviceName);
        float[] all = Numbers.Uniform(5, 4 * columns, 6);
        float[] together = Run(all);
        for (int row = 0; row < 4; row++)
            Close.AssertSameBits(together.AsSpan(row * (top + 1), top + 1), Run(all[(row * columns)..((row + 1) * columns)]));

        // For each row the chosen token's log-probability, then the top ones.
        float[] Run(float[] values)
        {
            int rows = values.Length / columns;
            using DeviceBuffer logits = device.Upload<float>(values), chosen = device.Upload<int>([.. Enumerable.Repeat(7, rows)]);
            using DeviceBuffer chosenLogProbs = device.Allocate(DType.F32, rows);
            using DeviceBuffer tokens = device.Allocate(DType.I32, rows * top), logProbs = device.Allocate(DType.F32, rows * top);
            device.Operators.LogProbs(
                logits.AsMatrix(rows, columns), chosen.AsSpan<int>(), chosenLogProbs.AsSpan<float>(), tokens.AsSpan<int>(), logProbs.AsSpan<float>());
            float[] ofChosen = chosenLogProbs.AsSpan<float>().ToArray(), ofTop = logProbs.AsSpan<float>().ToArray();
            return [.. Enumerable.Range(0, rows).SelectMany(row => (float[])[ofChosen[row], .. ofTop[(row * top)..((row + 1) * top)]])];
        }
    }
}
