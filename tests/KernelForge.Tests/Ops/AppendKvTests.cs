namespace KernelForge.Tests;

/// <summary>AppendKv against the layout of the cache: every slot that is named is filled, and nothing else.</summary>
public sealed class AppendKvTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly int[] Slots = [5, 0, 11];

    public static TheoryData<string> All => Devices.All;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void AppendKv_AllTypes_FillsItsSlotsOnly(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer slots = device.Upload<int>(Slots);
        foreach (DType cacheType in Devices.FloatTypes(deviceName))
            foreach (DType type in Devices.IsCuda(deviceName) ? [cacheType] : Numbers.FloatTypes)
                foreach ((int headDim, int gap) in ((int, int)[])[(18, 4), (16, 8), (16, 1), (136, 0)]) // whole vectors in the second and the last
                    AssertFilled(device, slots.AsSpan<int>(), cacheType, type, headDim, gap);
    }

    [DeviceTheory]
    [MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void AppendKv_MixedTypesOnCuda_SaysWhatItTakes(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer slots = device.Upload<int>([0]);
        var format = new KvFormat(BlockSize: 4, KvHeads: 1, HeadDim: 16, DType.F16);
        using GuardedMatrix memory = new(device, DType.F16, format.RowsPerBlock, 16), keys = new(device, DType.BF16, 1, 16);
        var error = Assert.Throws<ArgumentException>(() => device.Operators.AppendKv(keys, keys, slots.AsSpan<int>(), new KvLayer(memory, format)));
        Assert.Contains("all must be F16 or all BF16", error.Message);
    }

    private static void AssertFilled(Device device, DeviceSpan<int> slots, DType cacheType, DType type, int headDim, int gap)
    {
        var format = new KvFormat(BlockSize: 4, KvHeads: 2, headDim, cacheType);
        int columns = 2 * headDim;
        using var memory = new GuardedMatrix(device, cacheType, 3 * format.RowsPerBlock, headDim);
        using var keys = new GuardedMatrix(device, type, 3, columns, Numbers.Uniform(11, 3 * columns), gap);
        using var values = new GuardedMatrix(device, type, 3, columns, Numbers.Uniform(12, 3 * columns), gap == 4 ? 1 : gap);
        var layer = new KvLayer(memory, format);
        device.Operators.AppendKv(keys, values, slots, layer);

        float[] expected = [.. Enumerable.Repeat(float.NaN, 3 * format.RowsPerBlock * headDim)], keysIn = keys.Get(), valuesIn = values.Get();
        for (int i = 0; i < keysIn.Length; i++)
        {
            (int token, int head, int d) = (i / columns, i / headDim % 2, i % headDim);
            (int block, int offset) = Math.DivRem(Slots[token], 4);
            expected[(layer.KeyRow(block, head) + offset) * headDim + d] = Close.Round(keysIn[i], cacheType);
            expected[(layer.ValueRow(block, head) + offset) * headDim + d] = Close.Round(valuesIn[i], cacheType);
        }

        Assert.Equal(expected, memory.Get());
        memory.AssertUntouchedAround();
    }
}
