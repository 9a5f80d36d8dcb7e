using Xunit.Abstractions;

namespace KernelForge.Tests;

/// <summary>What narrow products read, counted by the emulator to the byte: weights once, the rows that x has and no others.</summary>
public sealed class MatMulReadsTests(PrivateEmulator emulator, ITestOutputHelper output) : IClassFixture<PrivateEmulator>
{
    private static readonly int[] Rows = [1, 16, 33, 64];

    public static TheoryData<string, string> Packed => Cases.Of(["emulated-sm80", "emulated-sm90"], QuantizedMatrices.FormatNames);

    [DeviceTheory, MemberData(nameof(Packed))]
    public void MatMulPacked_UpTo64Rows_ReadsTheWeightsOnce(string deviceName, string formatName)
    {
        const int n = 200, k = 1024; // two tiles, two lanes
        using CudaDevice device = Open(deviceName);
        using PackedWeights weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.Parse(formatName), n, k, seed: 1));
        using var memory = new Memory(device);
        DeviceMatrix all = memory.Filled(DType.F16, 64, k, fill: 1), results = memory.Filled(DType.F16, 64, n, fill: 0);
        foreach (int rows in Rows)
        {
            DeviceMatrix x = all.SliceRows(0, rows), result = results.SliceRows(0, rows);
            KernelCounters counters = Count(() => device.Operators.MatMulPacked(x, weights, result), device);

            Print($"{formatName}, {rows} rows", counters);
            Assert.Equal(weights.Format.GroupSize == 0 ? PerChannelBytes(weights) : weights.Layout.ReadBytes, ReadOf(counters, weights.Buffer.Address));
            Assert.Equal((long)rows * k * sizeof(ushort) * weights.Layout.Tiles, ReadOf(counters, x.Address));
        }
    }

    [DeviceTheory]
    [InlineData("emulated-sm80")]
    [InlineData("emulated-sm90")]
    public void MatMul_UpTo64Rows_ReadsTheWeightsOnce(string deviceName)
    {
        const int n = 200, k = 1024;
        using CudaDevice device = Open(deviceName);
        using var memory = new Memory(device);
        DeviceMatrix weights = memory.Filled(DType.BF16, n, k, fill: 1);
        DeviceMatrix all = memory.Filled(DType.BF16, 64, k, fill: 1), results = memory.Filled(DType.BF16, 64, n, fill: 0);
        foreach (int rows in Rows)
        {
            DeviceMatrix x = all.SliceRows(0, rows), result = results.SliceRows(0, rows);
            KernelCounters counters = Count(() => device.Operators.MatMul(x, weights, result), device);

            Print($"dense, {rows} rows", counters);
            Assert.Equal((long)n * k * sizeof(ushort), ReadOf(counters, weights.Address));
            Assert.Equal((long)rows * k * sizeof(ushort) * 2, ReadOf(counters, x.Address));
        }
    }

    /// <summary>The codes once; the one scale of an output by all threads that have it, once for every lane of k.</summary>
    private static long PerChannelBytes(PackedWeights weights)
    {
        const int threads = 4; // of a warp share an output
        int lanes = weights.K / weights.Header.LaneLength, outputs = weights.Layout.Tiles * PackedLayout.Tile;
        return weights.Layout.ScalesOffset + (long)lanes * outputs * threads * (sizeof(float) + (weights.Format.HasZeroPoints ? 1 : 0));
    }

    private void Print(string what, KernelCounters counters) => output.WriteLine(
        $"{what}: {counters.MmaInstructions} mma, {counters.WarpInstructions} PTX instructions, {counters.SharedBankConflicts} bank conflicts, " +
        $"{counters.GlobalSectorsRead} sectors read for {counters.GlobalBytesRead} bytes, {counters.UncoalescedAccesses} accesses not coalesced");

    private CudaDevice Open(string deviceName) => Device.OpenCuda(deviceName == "emulated-sm80" ? 0 : 1, new CudaDeviceOptions { Driver = emulator.Driver });

    /// <summary>What the one kernel of a call did.</summary>
    private KernelCounters Count(Action call, CudaDevice device)
    {
        emulator.Set("count", "1");
        emulator.ResetCounters();
        call();
        device.Synchronize();
        return Assert.Single(emulator.Counters.Kernels, kernel => kernel.Key.StartsWith("narrow_matmul_", StringComparison.Ordinal)).Value;
    }

    private static long ReadOf(KernelCounters counters, nint address) =>
        Assert.Single(counters.Buffers, buffer => buffer.Address <= address && address < buffer.Address + buffer.Bytes).BytesRead;
}
