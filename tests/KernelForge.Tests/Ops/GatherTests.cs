namespace KernelForge.Tests;

public sealed class GatherTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string> AllCpus => Devices.AllCpus;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Gather_AnyIndices_TakesValuesAndLeavesWhatIsNotAskedFor(string deviceName)
    {
        Device device = devices.Open(deviceName);
        var random = new Random(3);
        foreach (int count in (int[])[1, 2, 31, 255, 256, 257, 1000])
        {
            int[] values = [.. Enumerable.Range(0, 1 + random.Next(300)).Select(_ => random.Next())];
            int[] indices = [.. Enumerable.Range(0, count).Select(_ => random.Next(-3, values.Length))];
            using DeviceBuffer valuesMemory = device.Upload(values), indicesMemory = device.Upload(indices);
            using var result = new GuardedMatrix(device, DType.I32, 1, count);
            int[] before = [.. Enumerable.Range(0, count).Select(_ => random.Next())];
            result.Span<int>().CopyFrom(before);
            device.Operators.Gather(valuesMemory.AsSpan<int>(), indicesMemory.AsSpan<int>(), result.Span<int>());
            Assert.Equal(indices.Zip(before, (index, old) => index < 0 ? old : values[index]), result.Span<int>().ToArray());
            result.AssertUntouchedAround();
        }
    }

    [DeviceTheory]
    [MemberData(nameof(AllCpus))]
    public void Gather_BadArguments_SaysWhatIsWrong(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer values = device.Upload<int>([5, 6, 7]), indices = device.Upload<int>([0, 3]), result = device.Upload<int>([1, 2]);
        Assert.Contains("index 3", Assert.Throws<ArgumentException>(() => device.Operators.Gather(values.AsSpan<int>(), indices.AsSpan<int>(), result.AsSpan<int>())).Message);
        Assert.Contains("result has 3", Assert.Throws<ArgumentException>(() => device.Operators.Gather(values.AsSpan<int>(), indices.AsSpan<int>(), values.AsSpan<int>())).Message);
        device.Operators.Gather(default, default, default);
    }
}
