using Xunit.Abstractions;

namespace KernelForge.Tests;

/// <summary>What 128 k of the wide product by mma.sync cost, counted by the emulator: x and weights once a block, products as many as needed, no bank conflict.</summary>
public sealed class WideMatMulCountersTests(PrivateEmulator emulator, ITestOutputHelper output) : IClassFixture<PrivateEmulator>
{
    private const int Rows = 256, Outputs = 128, Blocks = 2, Warps = 8, K = 128;

    [DeviceTheory]
    [InlineData("emulated-sm80", "dense", 16)]
    [InlineData("emulated-sm80", "w4g128", 4)]
    [InlineData("emulated-sm80", "w8g128", 8)]
    [InlineData("emulated-sm90", "dense", 16)]
    [InlineData("emulated-sm90", "w4g128", 4)]
    [InlineData("emulated-sm90", "w8g128", 8)]
    public void WideMatMul_OfABlockOfK_ReadsItOnceWithoutConflicts(string deviceName, string weights, int bits)
    {
        using Device device = Device.OpenCuda(deviceName == "emulated-sm80" ? 0 : 1, new CudaDeviceOptions { Driver = emulator.Driver, UsesWarpgroups = false });
        emulator.Set("count", "1");
        Counted one = Count(device, weights, K), two = Count(device, weights, 2 * K);

        long products = two.Counters.MmaInstructions - one.Counters.MmaInstructions;
        long scales = bits == 16 ? 0 : 4 * Outputs * sizeof(float); // those of each 32 k
        Assert.Equal(0, two.Counters.SharedBankConflicts - one.Counters.SharedBankConflicts);
        Assert.Equal(0, two.Counters.UncoalescedAccesses - one.Counters.UncoalescedAccesses);
        Assert.Equal(Rows * K * sizeof(ushort), two.BytesOfX - one.BytesOfX);
        Assert.Equal(Blocks * (Outputs * K * bits / 8 + scales), two.BytesOfWeights - one.BytesOfWeights);
        Assert.Equal(Rows / 8 * (Outputs / 16) * (K / 16), products);

        long sharedBytes = two.Counters.SharedBytesRead - one.Counters.SharedBytesRead;
        output.WriteLine($"{deviceName} {weights}: {sharedBytes / (double)products:F1} bytes of shared memory read for a product, {one.Counters.SharedBankConflicts} conflicts in all");
        foreach ((string opcode, long count) in two.Counters.Opcodes.OrderByDescending(pair => pair.Value))
        {
            double each = (count - one.Counters.Opcodes.GetValueOrDefault(opcode)) / 32.0 / Warps / Blocks;
            if (each >= 1) output.WriteLine($"{each,10:F1} {opcode}");
        }
    }

    /// <summary>A product of that k, and the bytes of x and weights that were read.</summary>
    private Counted Count(Device device, string weights, int k)
    {
        using var memory = new Memory(device);
        (DeviceMatrix x, _) = memory.Random(new Random(1), DType.F16, Rows, k);
        DeviceMatrix result = memory.Filled(DType.F16, Rows, Outputs, float.NaN), dense = memory.Random(new Random(2), DType.F16, Outputs, k).Matrix;
        using PackedWeights? packed = weights == "dense" ? null : QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.Parse(weights), Outputs, k, seed: 3));
        emulator.ResetCounters();
        if (packed is null) device.Operators.MatMul(x, dense, result);
        else device.Operators.MatMulPacked(x, packed, result);
        device.Synchronize();
        KernelCounters counters = emulator.Counters[$"wide_matmul_f16_{(weights == "dense" ? weights : weights[..2])}"];
        return new Counted(counters, BytesRead(x.Address), BytesRead(packed?.Buffer.Address ?? dense.Address));

        long BytesRead(nint address) => counters.Buffers.Single(b => b.Address <= address && address < b.Address + b.Bytes).BytesRead;
    }

    private sealed record Counted(KernelCounters Counters, long BytesOfX, long BytesOfWeights);
}
