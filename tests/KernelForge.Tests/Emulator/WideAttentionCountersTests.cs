using Xunit.Abstractions;

namespace KernelForge.Tests;

/// <summary>What a tile of the wide kernel by mma.sync costs, counted by the emulator: keys and values once an item, products as many as needed, no bank conflict.</summary>
public sealed class WideAttentionCountersTests(PrivateEmulator emulator, ITestOutputHelper output) : IClassFixture<PrivateEmulator>
{
    private const int Rows = 200, KvHeads = 2;

    [DeviceTheory]
    [InlineData("emulated-sm80", 64)]
    [InlineData("emulated-sm80", 96)]
    [InlineData("emulated-sm80", 128)]
    [InlineData("emulated-sm80", 256)]
    [InlineData("emulated-sm90", 64)]
    [InlineData("emulated-sm90", 96)]
    [InlineData("emulated-sm90", 128)]
    [InlineData("emulated-sm90", 256)]
    public void WideAttention_OfATile_ReadsItOnceWithoutConflicts(string deviceName, int headDim)
    {
        using Device device = Device.OpenCuda(deviceName == "emulated-sm80" ? 0 : 1, new CudaDeviceOptions { Driver = emulator.Driver, UsesWarpgroups = false });
        emulator.Set("count", "1");
        AttentionTiling tiling = device.Operators.AttentionTiling(new KvFormat(16, KvHeads, headDim, DType.F16));
        int tile = tiling.TileSize, items = (Rows + tiling.WideRows - 1) / tiling.WideRows, warps = (Rows + 15) / 16;
        (KernelCounters two, long bytesOfTwo) = Count(device, headDim, 2 * tile);
        (KernelCounters three, long bytesOfThree) = Count(device, headDim, 3 * tile);

        Assert.Equal(0, three.SharedBankConflicts);
        Assert.Equal(0, three.UncoalescedAccesses - two.UncoalescedAccesses);
        Assert.Equal((long)KvHeads * items * tile * headDim * 2 * sizeof(ushort), bytesOfThree - bytesOfTwo);
        Assert.Equal(KvHeads * warps * (2L * tile / 8 * headDim / 16), three.MmaInstructions - two.MmaInstructions);

        output.WriteLine($"{deviceName} head_dim {headDim}: warp instructions of a tile and warp with rows");
        foreach ((string opcode, long count) in three.Opcodes.OrderByDescending(pair => pair.Value))
        {
            double each = (count - two.Opcodes.GetValueOrDefault(opcode)) / 32.0 / warps / KvHeads;
            if (each >= 1) output.WriteLine($"{each,10:F1} {opcode}");
        }
    }

    /// <summary>Prefix attention of <see cref="Rows"/> rows; also the bytes of keys and values that were read.</summary>
    private (KernelCounters Counters, long Bytes) Count(Device device, int headDim, int prefix)
    {
        using GuardedMatrix queries = Matrix(Rows), keys = Matrix(prefix), values = Matrix(prefix), result = Matrix(Rows), lse = new(device, DType.F32, Rows, KvHeads);
        emulator.ResetCounters();
        device.Operators.PrefixAttention(queries, keys, values, KvHeads, 1, new AttentionState(result, lse));
        device.Synchronize();
        KernelCounters counters = emulator.Counters[$"wide_attention_f16_{headDim}"];
        return (counters, BytesRead(keys) + BytesRead(values));

        GuardedMatrix Matrix(int rows) => new(device, DType.F16, rows, KvHeads * headDim, Numbers.Uniform(rows, rows * KvHeads * headDim, 1));

        long BytesRead(DeviceMatrix matrix) => counters.Buffers.Single(b => b.Address <= matrix.Address && matrix.Address < b.Address + b.Bytes).BytesRead;
    }
}
